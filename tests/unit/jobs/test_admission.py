"""Limits on the queue, on a client's jobs and stored bytes, and on how often a client submits."""

from contextlib import suppress

import pytest

from serve_app.jobs.errors import DrainingError, LimitError
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import IdempotencyKey
from serve_app.jobs.queue.rate import SubmitRate
from tests.job_tracking import Tracking


@pytest.fixture
def tracking() -> Tracking:
    return Tracking(queue_limit=10, client_jobs=10)


def test_a_full_queue_refuses_and_keeps_nothing(tracking: Tracking) -> None:
    for _ in range(10):
        tracking.submit()
    with pytest.raises(LimitError) as refused:
        tracking.submit("another", job_id="late")
    assert refused.value.retry_after > 0
    assert tracking.tracker.view("late") is None
    assert tracking.tracker.stats().jobs["queued"] == 10


def test_a_client_has_a_limit_of_its_own() -> None:
    tracking = Tracking(client_jobs=2)
    first = tracking.submit("me")
    tracking.submit("me")
    with pytest.raises(LimitError, match="2 jobs"):
        tracking.submit("me")
    tracking.submit("another")
    tracking.tracker.cancel(first)
    tracking.submit("me")


def test_a_client_may_store_so_many_bytes() -> None:
    tracking = Tracking(client_bytes=1000)
    tracking.submit("me", uploaded_bytes=600)
    with pytest.raises(LimitError, match="1000 bytes"):
        tracking.submit("me", uploaded_bytes=500)
    job = tracking.run_next(1)  # Its song has 1,000 bytes.
    assert tracking.tracker.ended.stored_bytes == 1600
    tracking.tidied(job)
    assert tracking.tracker.ended.stored_bytes == 1000
    tracking.flush()
    tracking.tracker.ended.files_expired([tracking.store.get(job)])
    tracking.tracker.ended.files_expired([tracking.store.get(job)])
    assert tracking.tracker.ended.stored_bytes == 0
    tracking.submit("me", uploaded_bytes=1000)


def test_jobs_of_before_a_restart_count_for_their_client() -> None:
    tracking = Tracking(client_jobs=1)
    tracking.submit("me")
    tracking.restart()
    with pytest.raises(LimitError, match="waiting or running"):
        tracking.submit("me")


def test_a_client_may_submit_so_many_at_once_and_then_so_many_a_second() -> None:
    tracking = Tracking(client_rate=2.0, client_burst=5)
    job_ids = [tracking.submit("me") for _ in range(5)]
    with pytest.raises(LimitError, match="2 jobs a second") as refused:
        tracking.submit("me", job_id="late")
    assert (refused.value.limit, refused.value.retry_after) == ("client_rate", pytest.approx(0.5, abs=1e-3))
    assert tracking.tracker.view("late") is None
    tracking.submit("another")
    tracking.clock.now += refused.value.retry_after
    tracking.submit("me")
    with pytest.raises(LimitError):
        tracking.submit("me")
    tracking.clock.now += 3600
    for job_id in job_ids:  # A cancelled job returns no token.
        tracking.tracker.cancel(job_id)
    for _ in range(5):
        tracking.submit("me")
    with pytest.raises(LimitError):
        tracking.submit("me")


def test_a_submit_that_is_repeated_or_refused_takes_no_token() -> None:
    tracking = Tracking(client_rate=1.0, client_burst=2, client_bytes=100)
    new = tracking.new_job("me")
    for _ in range(10):
        tracking.tracker.submit(new)
        with pytest.raises(LimitError, match="bytes"):
            tracking.submit("me", uploaded_bytes=101)
    tracking.submit("me")
    with pytest.raises(LimitError, match="a second"):
        tracking.submit("me")


@pytest.mark.parametrize("step", [-8 * 86_400.0, -3600.0, -31.0, 31.0, 3600.0, 8 * 86_400.0])
def test_a_step_of_the_clock_locks_no_client_out(step: float) -> None:
    tracking = Tracking(client_rate=1.0, client_burst=3)
    for _ in range(3):
        tracking.submit("me")
    tracking.clock.now += step
    for _ in range(3):
        with suppress(LimitError):
            tracking.submit("me")
        tracking.clock.now += 1.0
    assert tracking.tracker.stats().jobs["queued"] >= 5


def test_clients_who_wait_no_more_are_forgotten() -> None:
    rate = SubmitRate(per_second=1.0, burst=2)
    for number in range(100_000):
        rate.take(f"client {number}", now=number / 100)
    assert len(vars(rate)["_full_at"]) <= 2000


def test_what_submit_would_refuse_is_refused_before_it_costs_work() -> None:
    tracking = Tracking(queue_limit=2, client_jobs=1)
    tracking.admit("me", None)
    first = tracking.submit("me", idempotency=IdempotencyKey("mine", "x"))
    with pytest.raises(LimitError, match="1 jobs"):
        tracking.admit("me", None)
    tracking.admit("me", "mine")
    with pytest.raises(LimitError):
        tracking.admit("me", "another")
    tracking.admit("you", None)
    tracking.submit("you")
    with pytest.raises(LimitError, match="full"):
        tracking.admit("they", "mine")
    tracking.tracker.cancel(first)
    tracking.tracker.mode = Mode.DRAINING
    with pytest.raises(DrainingError):
        tracking.admit("me", None)
    tracking.admit("me", "mine")


def test_asking_for_admission_reserves_nothing() -> None:
    tracking = Tracking(queue_limit=1)
    for _ in range(5):
        tracking.admit("me", None)
    tracking.submit("you")
