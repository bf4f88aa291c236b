"""Ages under a wall clock that is set: nothing looks older than it is."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.jobs.housekeeping.ages import JUMP_SECONDS, RetentionClock, boot_id, steady_seconds

DAY = 86_400.0
STEPS = [-8 * DAY, -3600.0, -31.0, 31.0, 3600.0, 8 * DAY]


class Times:
    """A wall clock that can be set, and a steady one that cannot."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_700_000_000.0, 5000.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def clock(self) -> RetentionClock:
        return RetentionClock(7 * DAY, lambda: self.wall, lambda: self.steady)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_wall_clock_is_told_once(step: float, caplog: pytest.LogCaptureFixture) -> None:
    times = Times()
    clock = times.clock()
    clock()
    times.wall += step
    for _ in range(3):
        clock()
        times.pass_by(10)
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (error.event, error.seconds) == ("clock_set", step)
    assert clock.held_back_seconds == max(step, 0.0)


def test_small_corrections_are_no_steps(caplog: pytest.LogCaptureFixture) -> None:
    times = Times()
    clock = times.clock()
    for _ in range(100):
        times.wall += JUMP_SECONDS / 10
        times.pass_by(10)
        clock()
    assert caplog.records == []


@given(
    st.lists(
        st.tuples(st.floats(0, 3 * DAY), st.one_of(st.just(0.0), st.sampled_from(STEPS)), st.booleans()),
        max_size=40,
    )
)
def test_nothing_is_ever_older_than_the_time_that_has_passed(life: list[tuple[float, float, bool]]) -> None:
    """The stamps are of the wall clock within the last days, whether it was right or not.

    Ages are asked for at some of these moments only, as by sweeps.
    """
    times = Times()
    clock = times.clock()
    stamped: list[tuple[float, float]] = []
    for passing, step, is_swept in life:
        times.pass_by(passing)
        times.wall += step
        stamped.append((clock.stamp(), times.steady))
        if not is_swept:
            continue
        now = clock()
        for stamp, at in stamped:
            age = times.steady - at
            if age <= 6 * DAY:
                assert now - stamp <= age + 1.0


def test_after_a_week_a_clock_that_was_set_forward_is_believed() -> None:
    times = Times()
    clock = times.clock()
    clock()
    times.wall += 8 * DAY
    for _ in range(8):
        times.pass_by(DAY)
        clock()
    assert clock() == times.wall
    assert clock.held_back_seconds == 0.0


@pytest.mark.parametrize("step", STEPS)
def test_the_next_process_of_the_machine_goes_on_with_the_clock(step: float) -> None:
    times = Times()
    first = times.clock()
    before = first()
    times.wall += step
    times.pass_by(60)
    handed_on = first.offset
    second = times.clock()
    assert second.is_new
    second.remember(handed_on)
    assert second() == min(before + 60, times.wall)


def test_what_an_earlier_process_knew_counts_after_stamps_of_this_one() -> None:
    times = Times()
    first = times.clock()
    stamp = first.stamp()
    handed_on = first.offset
    times.wall += 8 * DAY
    second = times.clock()
    second.stamp()
    second.remember(handed_on)
    assert not second.is_new
    assert second() == stamp


def test_the_machine_has_a_clock_that_nobody_sets() -> None:
    assert 0 < steady_seconds() <= steady_seconds()
    assert boot_id() == boot_id() != ""
