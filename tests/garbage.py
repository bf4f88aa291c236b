"""Pytest plugin that keeps the garbage collector away from the objects that live as long as the tests.

Thousands of tests and the modules they import are some millions of objects. The collector would look at all
of them again and again, which takes a third of the time of short tests.
"""

import gc
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
