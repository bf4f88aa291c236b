"""The garbage collector of the processes that answer requests."""

import gc
from collections.abc import Iterator

import pytest

from deployments.common.processor import collect_garbage_rarely
from serve_app.edge import Edge

OBJECTS = 100_000
"""Objects that a hundred open requests have together."""


@pytest.fixture(autouse=True)
def usual_collector() -> Iterator[None]:
    """Set the defaults of Python, and hide the objects of other tests, among which new ones would be few."""
    usual = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    gc.freeze()
    gc.collect()  # It counts old objects anew: beside many of them, all are looked at more rarely.
    yield
    gc.unfreeze()
    gc.set_threshold(*usual)


def collections_while_requests_open() -> tuple[int, int]:
    """Return how often young objects alone were collected, and how often all objects."""

    def counts() -> list[int]:
        return [generation["collections"] for generation in gc.get_stats()]

    before = counts()
    requests: list[list[None]] = [[] for _ in range(OBJECTS)]
    after = counts()
    assert len(requests) == OBJECTS
    return after[0] - before[0] + after[1] - before[1], after[2] - before[2]


def test_requests_that_open_do_not_make_the_process_look_at_all_of_its_objects() -> None:
    _, of_all = collections_while_requests_open()
    assert of_all > 0
    collect_garbage_rarely()
    of_young, of_all = collections_while_requests_open()
    assert of_young >= OBJECTS // 20_000
    assert of_all == 0


def test_the_proxy_collects_rarely() -> None:
    async def nothing(*_: object) -> None: ...

    before = gc.get_threshold()
    Edge(nothing)
    assert gc.get_threshold() > before
