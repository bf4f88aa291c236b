"""Every rule of `referee` holds in every schedule.

A schedule that breaks one is printed as a test, as small as it gets. It belongs into `test_found.py`.
"""

import gc
import os
from collections.abc import Iterator
from dataclasses import fields

import pytest

from tests.simulation.schedule import HEALED, KINDS, Request, schedule_of
from tests.simulation.shrinking import as_test, shrunk
from tests.simulation.world import run

FIRST = 150
"""Schedules of `make test`."""
ALL = int(os.environ.get("SIMULATED_SCHEDULES", "20000"))
"""Schedules of `make test-all`."""
BLOCK = 5000
COLLECT_AFTER = 4


@pytest.fixture
def few_collections() -> Iterator[None]:
    """Let garbage be collected between schedules only, and without a look at all that was loaded before."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def hold(first: int, last: int) -> None:
    for seed in range(first, last):
        violation = run(schedule_of(seed)).violation
        if violation is not None:
            small = shrunk(schedule_of(seed))
            still = run(small).violation or violation
            pytest.fail(
                f"seed {seed}: {violation}\n\n{as_test(small, still.rule, still.found)}", pytrace=False
            )
        if seed % COLLECT_AFTER == 0:
            gc.collect()


@pytest.mark.usefixtures("few_collections")
def test_the_rules_hold_in_the_first_schedules() -> None:
    hold(0, FIRST)


@pytest.mark.slow
@pytest.mark.usefixtures("few_collections")
@pytest.mark.parametrize("first", range(FIRST, ALL, BLOCK))
def test_the_rules_hold_in_all_schedules(first: int) -> None:
    hold(first, min(first + BLOCK, ALL))


def test_every_kind_of_fault_is_in_the_first_schedules_and_ends_before_the_rest_must_be_done() -> None:
    faults = [fault for seed in range(FIRST) for fault in schedule_of(seed).faults]
    assert {fault.kind for fault in faults} == KINDS.keys()
    assert all(fault.at + fault.seconds < HEALED for fault in faults)


def test_every_kind_of_wish_is_in_the_first_schedules() -> None:
    requests = [request for seed in range(FIRST) for request in schedule_of(seed).requests]
    for name in (one.name for one in fields(Request)):
        assert len({getattr(request, name) for request in requests}) > 1, name
