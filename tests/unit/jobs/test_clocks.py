"""The wall clock is set. Nothing ends, starts or is forgotten because of it. Both clocks are simulated."""

import pytest

from configs.settings import WebhookSettings
from serve_app.jobs.clocks import CautiousClock, Deadlines
from serve_app.jobs.errors import IdempotencyConflictError
from serve_app.jobs.model import Callback, IdempotencyKey, JobState
from tests.job_tracking import Clock, Tracking

HOUR, DAY = 3600.0, 24 * 3600.0
STEPS = [31.0, -31.0, HOUR, -HOUR, 8 * DAY, -8 * DAY]
LEASE_SECONDS = 30.0


@pytest.fixture
def tracking() -> Tracking:
    steady = Clock()
    steady.now = 50.0
    return Tracking(steady=steady, lease_seconds=LEASE_SECONDS)


@pytest.mark.parametrize("step", STEPS)
def test_a_lease_ends_when_its_seconds_are_over_and_not_before(tracking: Tracking, step: float) -> None:
    job_id = tracking.submit()
    tracking.tracker.claim("token")
    tracking.wait(LEASE_SECONDS - 1)
    tracking.clock.now += step
    assert tracking.tracker.requeue_expired() == []
    assert tracking.tracker.heartbeat(job_id, "token", "denoising", 0.5)
    tracking.wait(LEASE_SECONDS - 1)
    assert tracking.tracker.requeue_expired() == []
    tracking.wait(1)
    assert tracking.tracker.requeue_expired() == [job_id]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("restarted", [False, True])
def test_estimates_stay_those_of_the_work(tracking: Tracking, step: float, restarted: bool) -> None:
    """Jobs wait and run, and their estimates are compared before and after the step of the clock."""
    for _ in range(5):
        tracking.run_next_of(10.0)
    for _ in range(3):
        tracking.submit()
    claim = tracking.tracker.claim("token")
    assert claim is not None
    waiting = tracking.submit()
    before = tracking.view(waiting)
    tracking.clock.now += step
    if restarted:
        tracking.restart()
    after = tracking.view(waiting)
    assert before is not None
    assert after is not None
    assert after.eta_seconds == pytest.approx(before.eta_seconds, rel=0.01)
    tracking.wait(10.0)
    assert tracking.tracker.finish(claim.job.job_id, "token", {"timings": {"denoising": 10.0}}, (), 0)
    tracking.restart()  # The tracker reads the speed of jobs from their records.
    assert tracking.tracker.stats().avg_job_seconds == pytest.approx(10.0, abs=31.0 / 6 + 0.1)


@pytest.mark.parametrize("step", STEPS)
def test_a_key_is_good_for_its_day(tracking: Tracking, step: float) -> None:
    key = IdempotencyKey("key", "this")
    first = tracking.take(tracking.new_job("ann", idempotency=key))
    tracking.wait(HOUR)
    tracking.clock.now += step
    assert tracking.take(tracking.new_job("ann", idempotency=key)) == first
    tracking.restart()
    assert tracking.take(tracking.new_job("ann", idempotency=key)) == first
    with pytest.raises(IdempotencyConflictError):
        tracking.take(tracking.new_job("ann", idempotency=IdempotencyKey("key", "that")))


def test_a_key_is_free_after_its_day(tracking: Tracking) -> None:
    key = IdempotencyKey("key", "this")
    first = tracking.take(tracking.new_job("ann", idempotency=key))
    tracking.wait(DAY + 1)
    assert tracking.take(tracking.new_job("ann", idempotency=key)) != first


@pytest.mark.parametrize("step", STEPS)
def test_what_a_cancelled_runner_may_still_write_is_waited_for(tracking: Tracking, step: float) -> None:
    job_id = tracking.submit()
    tracking.tracker.claim("token")
    tracking.tracker.cancel(job_id)
    tracking.clock.now += step
    tracking.wait(LEASE_SECONDS - 1)
    assert tracking.tracker.ended.untidy() == []
    tracking.wait(1)
    assert [job.job_id for job in tracking.tracker.ended.untidy()] == [job_id]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_callback_is_tried_again_after_its_pause(tracking: Tracking, step: float, restarted: bool) -> None:
    """After a restart the pause is at most what it was, because the clock may be wrong then."""
    pause = WebhookSettings().first_retry_seconds
    job_id = tracking.submit(callback_url="https://example.org")
    tracking.run_next(1.0)
    assert [job.job_id for job in tracking.tracker.ended.callbacks_due()] == [job_id]
    tracking.called_back(job_id, Callback(tracking.clock.now + pause, attempts=1))
    tracking.clock.now += step
    if restarted:
        tracking.restart()
    else:
        tracking.wait(pause / 2)
        assert tracking.tracker.ended.callbacks_due() == []
    tracking.tracker.ended.callbacks_due()
    tracking.wait(pause if restarted else pause / 2)
    assert [job.job_id for job in tracking.tracker.ended.callbacks_due()] == [job_id]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_first_callback_is_due_at_once(tracking: Tracking, step: float, restarted: bool) -> None:
    job_id = tracking.submit(callback_url="https://example.org")
    tracking.run_next(1.0)
    tracking.clock.now += step
    if restarted:
        tracking.restart()
    assert [job.job_id for job in tracking.tracker.ended.callbacks_due()] == [job_id]


@pytest.mark.parametrize("step", STEPS)
def test_a_job_goes_its_way_through_a_step_in_every_state(tracking: Tracking, step: float) -> None:
    job_id = tracking.submit()
    tracking.clock.now += step
    claim = tracking.tracker.claim("token")
    assert claim is not None
    tracking.clock.now -= 2 * step
    assert tracking.tracker.finish(job_id, "token", {"timings": {}}, (), 0)
    tracking.clock.now += step
    view = tracking.view(job_id)
    assert view is not None
    assert view.state is JobState.SUCCEEDED
    assert tracking.tracker.load().oldest_seconds >= 0


def test_deadlines_are_kept_on_the_steady_clock_and_bounded() -> None:
    wall, steady = Clock(), Clock()
    deadlines = Deadlines(wall, steady)
    assert deadlines.see("a", wall.now + 10, longest=100) == steady.now + 10
    assert deadlines.see("b", wall.now + DAY, longest=100) == steady.now + 100
    assert deadlines.is_due("c", wall.now - DAY, longest=100)
    wall.now += DAY
    assert not deadlines.is_due("a", wall.now - DAY + 10, longest=100)
    steady.now += 10
    assert deadlines.is_due("a", wall.now - DAY + 10, longest=100)


def test_the_cautious_clock_counts_what_has_passed_whatever_the_wall_clock_says() -> None:
    wall, steady = Clock(), Clock()
    steady.now = 5.0
    first = CautiousClock(wall, steady)
    begun = wall.now
    for step in STEPS:
        wall.now += step
        steady.now += 10
    assert first() == begun + 60
    assert CautiousClock(wall, steady, latest=first())() == begun + 60
