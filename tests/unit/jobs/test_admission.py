"""Limits on the line, and on what one client has in it and in the storage."""

import pytest

from serve_app.jobs.errors import LimitError
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
