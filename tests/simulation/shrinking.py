"""Makes a failing schedule as small as it gets, and writes it as a test."""

from collections.abc import Iterator
from dataclasses import fields, replace

from tests.simulation.schedule import Fault, Request, Schedule
from tests.simulation.world import run


def shrunk(schedule: Schedule, runs: int = 400) -> Schedule:
    """Return the smallest schedule found that breaks the same rule; it takes at most so many runs."""
    violation = run(schedule).violation
    if violation is None:
        raise ValueError(f"the schedule of seed {schedule.seed} breaks no rule")
    found_one = True
    while found_one and runs > 0:
        found_one = False
        for smaller in _smaller(schedule):
            if runs <= 0:
                break
            runs -= 1
            other = run(smaller).violation
            if other is not None and other.rule == violation.rule:
                schedule, found_one = smaller, True
                break
    return schedule


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    """Yield schedules with less: without half of something, without one of it, or with a simpler one."""
    for name in ("faults", "requests"):
        items: tuple[Fault, ...] | tuple[Request, ...] = getattr(schedule, name)
        half = len(items) // 2
        if half > 1:
            yield replace(schedule, **{name: items[:half]})
            yield replace(schedule, **{name: items[half:]})
        for index in range(len(items)):
            yield replace(schedule, **{name: items[:index] + items[index + 1 :]})
    if schedule.runners > 1:
        yield replace(schedule, runners=1)
    if schedule.loops > 1:
        yield replace(schedule, loops=1)
    for index, request in enumerate(schedule.requests):
        for field in fields(Request):
            if field.name not in {"client", "at"} and getattr(request, field.name) != field.default:
                simpler = replace(request, **{field.name: field.default})
                yield _with(schedule, "requests", index, simpler)
    for index, fault in enumerate(schedule.faults):
        if fault.seconds > 0.5 and fault.kind != "clock is set":
            yield _with(schedule, "faults", index, replace(fault, seconds=round(fault.seconds / 2, 2)))


def _with(schedule: Schedule, name: str, index: int, item: Fault | Request) -> Schedule:
    items = getattr(schedule, name)
    return replace(schedule, **{name: (*items[:index], item, *items[index + 1 :])})


def as_test(schedule: Schedule, rule: str, found: str) -> str:
    """Return the source of a test that runs a schedule."""
    words = "".join(letter if letter.isalnum() else "_" for letter in rule)
    requests = "".join(f"            {_source(one)},\n" for one in schedule.requests)
    faults = "".join(f"            {_source(one)},\n" for one in schedule.faults)
    others = "".join(
        f"        {field.name}={getattr(schedule, field.name)!r},\n"
        for field in fields(Schedule)
        if field.name in {"runners", "loops", "keeps_seconds"}
        and getattr(schedule, field.name) != field.default
    )
    return (
        f"def test_seed_{schedule.seed}_{words}() -> None:\n"
        f'    """The rule was broken: {found}."""\n'
        f"    schedule = Schedule(\n        {schedule.seed},\n"
        f"        requests=(\n{requests}        ),\n        faults=(\n{faults}        ),\n{others}    )\n"
        "    assert run(schedule).violation is None\n"
    )


def _source(item: Fault | Request) -> str:
    """Return the call that makes a request or a fault, without its defaults."""
    said = ", ".join(
        f"{field.name}={getattr(item, field.name)!r}"
        for field in fields(item)
        if getattr(item, field.name) != field.default
    )
    return f"{type(item).__name__}({said})"
