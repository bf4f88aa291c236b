"""Pytest plugin that keeps the garbage collector away from the objects that live as long as the tests.

Thousands of tests and the modules they import are very many objects. The collector would look at all of them
again and again; such a collection takes about a second.
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
        gc.freeze()
        gc.enable()
