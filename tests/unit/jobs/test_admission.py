"""Limits on the line, and on what one client has in it and in the storage."""

import pytest

from serve_app.jobs.errors import DrainingError, LimitError
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import IdempotencyKey
from tests.job_tracking import Tracking


@pytest.fixture
def tracking() -> Tracking:
    return Tracking(queue_limit=10, client_jobs=10)


def test_a_full_line_refuses_and_keeps_nothing(tracking: Tracking) -> None:
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
    job = tracking.run_next(1)  # its song has 1,000 bytes
    assert tracking.tracker.ended.stored_bytes == 1600
    tracking.tracker.ended.tidied(job)
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


def test_what_submit_would_refuse_is_refused_before_it_costs_work() -> None:
    tracking = Tracking(queue_limit=2, client_jobs=1)
    tracking.tracker.admit("me", None)
    first = tracking.submit("me", idempotency=IdempotencyKey("mine", "x"))
    with pytest.raises(LimitError, match="1 jobs"):
        tracking.tracker.admit("me", None)
    tracking.tracker.admit("me", "mine")
    with pytest.raises(LimitError):
        tracking.tracker.admit("me", "another")
    tracking.tracker.admit("you", None)
    tracking.submit("you")
    with pytest.raises(LimitError, match="full"):
        tracking.tracker.admit("they", "mine")
    tracking.tracker.cancel(first)
    tracking.tracker.mode = Mode.DRAINING
    with pytest.raises(DrainingError):
        tracking.tracker.admit("me", None)
    tracking.tracker.admit("me", "mine")


def test_asking_for_admission_reserves_nothing() -> None:
    tracking = Tracking(queue_limit=1)
    for _ in range(5):
        tracking.tracker.admit("me", None)
    tracking.submit("you")
