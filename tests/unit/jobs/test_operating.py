"""Operators' commands to the tracker: which jobs are accepted and begun, and which run again."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import Settings
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.errors import DrainingError, RequeueError
from serve_app.jobs.housekeeping.purge import Purge
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import JobState
from serve_app.jobs.surroundings import Surroundings
from serve_app.request.spec import Recording
from serve_app.storage import AudioStorage
from tests.housekeeping import deletion_under_way
from tests.job_tracking import Tracking


@pytest.fixture
def tracking() -> Tracking:
    return Tracking(max_attempts=2, lease_seconds=30.0)


def claim(tracking: Tracking, token: str) -> str | None:
    """Return the id of the job that a runner gets."""
    claim = tracking.tracker.claim(token)
    return claim and claim.job.job_id


def failed(tracking: Tracking, **fields: object) -> str:
    """Return the id of a job that failed and of which nothing is left in the storage."""
    job_id = tracking.submit(**fields)
    token = f"token of {job_id}"
    assert claim(tracking, token) == job_id
    assert tracking.tracker.fail(job_id, token, "It failed.", retryable=False)
    tracking.tidied(job_id)
    return job_id


def state(tracking: Tracking, job_id: str) -> JobState | None:
    view = tracking.tracker.view(job_id)
    return view and view.state


# Draining and pausing


def test_a_draining_server_takes_no_new_jobs_and_finishes_the_others(tracking: Tracking) -> None:
    running, waiting = tracking.submit(), tracking.submit()
    claim(tracking, "token")
    tracking.tracker.mode = Mode.DRAINING
    with pytest.raises(DrainingError):
        tracking.submit()
    assert tracking.tracker.finish(running, "token", {"timings": {}}, (), 0)
    assert tracking.run_next(1.0) == waiting
    assert tracking.tracker.stats().jobs["succeeded"] == 2


def test_a_draining_server_gives_the_answer_to_a_repeated_submit_again(tracking: Tracking) -> None:
    new = tracking.new_job()
    accepted = tracking.tracker.submit(new)
    tracking.tracker.mode = Mode.DRAINING
    assert tracking.tracker.submit(new) == accepted


def test_a_paused_server_takes_jobs_and_begins_none(tracking: Tracking) -> None:
    running = tracking.submit()
    held = tracking.tracker.claim("token")
    tracking.tracker.mode = Mode.PAUSED
    waiting = tracking.submit()
    assert claim(tracking, "another") is None
    assert tracking.tracker.claim("token") == held
    assert tracking.tracker.finish(running, "token", {"timings": {}}, (), 0)
    tracking.tracker.mode = Mode.OPEN
    assert claim(tracking, "another") == waiting


def test_a_restarted_tracker_stays_as_the_operator_set_it(tracking: Tracking) -> None:
    tracking.store.set_mode(Mode.PAUSED)
    tracking.restart()
    tracking.submit()
    assert claim(tracking, "token") is None
    assert tracking.tracker.stats().mode is Mode.PAUSED


# The queue


def test_who_waits_is_listed_in_the_order_of_the_queue(tracking: Tracking) -> None:
    first, second = tracking.submit("ann"), tracking.submit("ann")
    urgent, other = tracking.submit("bob", priority=1), tracking.submit("bob")
    order = [urgent, first, other, second]
    assert [view.job_id for view in tracking.tracker.waiting(None, 10)] == order
    assert [view.queue_position for view in tracking.tracker.waiting(None, 10)] == [1, 2, 3, 4]
    assert [view.job_id for view in tracking.tracker.waiting(None, 2)] == order[:2]
    assert [view.job_id for view in tracking.tracker.waiting("ann", 10)] == [first, second]
    assert tracking.tracker.waiting("cy", 10) == []


# Requeueing


def test_a_failed_job_waits_again_at_its_old_place(tracking: Tracking) -> None:
    job_id, others = failed(tracking), [tracking.submit() for _ in range(3)]
    view = tracking.tracker.requeue(job_id)
    assert view is not None
    assert (view.state, view.queue_position) == (JobState.QUEUED, 1)
    assert (view.error, view.started_at, view.finished_at) == (None, None, None)
    assert [tracking.run_next(1.0) for _ in range(4)] == [job_id, *others]
    assert tracking.tracker.stats().jobs == {
        "queued": 0,
        "running": 0,
        "succeeded": 4,
        "failed": 0,
        "cancelled": 0,
    }


def test_a_job_from_before_virtual_time_began_anew_does_not_wait_behind_everybody(tracking: Tracking) -> None:
    for _ in range(3):
        done = tracking.submit("ann")
        tracking.run_next(1.0)
        tracking.tidied(done)
    job_id = failed(tracking, client="ann")
    tracking.flush()
    tracking.tracker.ended.records_expired(tracking.store.page(None, JobState.SUCCEEDED, sys.maxsize, 10))
    tracking.restart()
    others = [tracking.submit("bob") for _ in range(3)]
    tracking.recall(job_id)
    tracking.tracker.requeue(job_id)
    assert {tracking.run_next(1.0), tracking.run_next(1.0)} == {job_id, others[0]}


def test_a_failed_job_runs_again(tracking: Tracking) -> None:
    job_id = failed(tracking)
    tracking.tracker.requeue(job_id)
    assert tracking.run_next(1.0) == job_id
    assert state(tracking, job_id) is JobState.SUCCEEDED


def test_a_cancelled_job_is_not_run_again(tracking: Tracking) -> None:
    job_id = tracking.submit()
    tracking.tracker.cancel(job_id)
    tracking.tidied(job_id)
    with pytest.raises(RequeueError, match="must be submitted again") as refused:
        tracking.tracker.requeue(job_id)
    assert not refused.value.later
    assert state(tracking, job_id) is JobState.CANCELLED


def test_a_requeued_job_has_all_its_attempts_and_a_folder_of_its_own_for_each(tracking: Tracking) -> None:
    job_id = tracking.submit()
    for attempt in (1, 2):
        assert claim(tracking, f"{attempt}") == job_id
        tracking.tracker.fail(job_id, f"{attempt}", "It failed.", retryable=True)
    assert state(tracking, job_id) is JobState.FAILED
    tracking.tidied(job_id)
    tracking.tracker.requeue(job_id)
    for attempt in (3, 4):
        again = tracking.tracker.claim(f"{attempt}")
        assert again is not None
        assert again.job.attempt == attempt
        tracking.tracker.fail(job_id, f"{attempt}", "It failed.", retryable=True)
    assert state(tracking, job_id) is JobState.FAILED


def test_a_requeued_job_counts_as_one_of_its_client_s() -> None:
    tracking = Tracking(client_jobs=1)
    job_id = failed(tracking, client="ann")
    tracking.tracker.requeue(job_id)
    with pytest.raises(Exception, match="as many as one client may"):
        tracking.submit("ann")
    tracking.run_next(1.0)
    tracking.submit("ann")


def test_a_running_job_is_taken_from_its_runner(tracking: Tracking) -> None:
    job_id = tracking.submit()
    claim(tracking, "hangs")
    tracking.tracker.requeue(job_id)
    assert not tracking.tracker.heartbeat(job_id, "hangs", "denoising", 0.5)
    assert not tracking.tracker.finish(job_id, "hangs", {}, (), 0)
    for token in ("second", "third"):
        assert claim(tracking, token) == job_id
        tracking.tracker.fail(job_id, token, "It failed.", retryable=True)
    assert state(tracking, job_id) is JobState.FAILED


def test_requeueing_a_job_that_waits_changes_nothing(tracking: Tracking) -> None:
    job_id = tracking.submit()
    assert tracking.tracker.requeue(job_id) == tracking.tracker.view(job_id)
    assert tracking.tracker.requeue("never was") is None


def test_a_job_that_succeeded_is_not_run_again(tracking: Tracking) -> None:
    tracking.submit()
    job_id = tracking.run_next(1.0)
    with pytest.raises(RequeueError, match="it has succeeded") as refused:
        tracking.tracker.requeue(job_id)
    assert not refused.value.later


def test_a_job_whose_recordings_are_gone_is_not_run_again(tracking: Tracking) -> None:
    new = tracking.new_job()
    new = replace(new, spec=replace(new.spec, source=Recording("memory://source", 10.0)))
    tracking.tracker.submit(new)
    assert claim(tracking, "token") == new.job_id
    assert tracking.tracker.fail(new.job_id, "token", "It failed.", retryable=False)
    with pytest.raises(RequeueError, match="its recordings were deleted") as refused:
        tracking.tracker.requeue(new.job_id)
    assert not refused.value.later


def test_a_job_waits_for_its_old_files_to_go(tracking: Tracking) -> None:
    job_id = tracking.submit()
    assert claim(tracking, "token") == job_id
    assert tracking.tracker.fail(job_id, "token", "It failed.", retryable=False)
    with pytest.raises(RequeueError, match="is still being deleted") as refused:
        tracking.tracker.requeue(job_id)
    assert refused.value.later
    tracking.tidied(job_id)
    assert tracking.tracker.requeue(job_id) is not None


async def test_a_job_whose_folder_is_being_deleted_is_not_run_again(
    tracking: Tracking, tmp_path: Path
) -> None:
    """Its next attempt would write to the same folder."""
    settings = Settings(
        jobs={"store": str(tmp_path / "jobs.sqlite3")}, storage={"uri": str(tmp_path / "output")}
    )
    storage = AudioStorage(settings.storage.uri)
    tracker = DurableTracker(settings, outside=Surroundings(open_storage=lambda _: storage))
    await tracker.submit(tracking.new_job(job_id="a"))
    await tracker.claim("token", 0)
    await tracker.fail("a", "token", "It failed.", False)
    await tracker._janitor.sweep(*await tracker._open())
    async with deletion_under_way(storage, tracker.purge(Purge(("a",)), False)):
        with pytest.raises(RequeueError, match="is still being deleted") as refused:
            await tracker.requeue("a")
    assert refused.value.later
    assert await tracker.requeue("a") is None
    await tracker.close()


def test_a_requeued_job_is_called_back_when_it_ends_again(tracking: Tracking) -> None:
    job_id = failed(tracking, callback_url="https://example.org")
    tracking.tracker.requeue(job_id)
    assert tracking.tracker.ended.callbacks_due() == []
    tracking.run_next(1.0)
    assert [job.job_id for job in tracking.tracker.ended.callbacks_due()] == [job_id]


def test_a_requeued_job_survives_a_restart(tracking: Tracking) -> None:
    job_id = failed(tracking)
    tracking.flush()
    tracking.tracker.requeue(job_id)
    tracking.restart()
    assert tracking.run_next(1.0) == job_id


def test_the_record_of_a_job_that_was_requeued_meanwhile_stays(tracking: Tracking) -> None:
    job_id = failed(tracking)
    expired = tracking.record(job_id)
    assert expired is not None
    tracking.tracker.requeue(job_id)
    tracking.tracker.ended.records_expired([expired])
    assert tracking.run_next(1.0) == job_id
