"""The line of jobs: order, positions, leases, attempts. The clock is the only fake."""

import pytest

from configs.settings import JobSettings
from serve_app.api.schemas import GenerateRequest
from serve_app.jobs.model import JobSpec, JobState
from serve_app.jobs.store import MemoryJobStore
from serve_app.jobs.tracker import JobTracker, QueueFullError

SPEC = JobSpec(GenerateRequest(), seeds=(1, 2))
RESULT = {"timings": {"denoising": 2.0}}


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryJobStore:
    return MemoryJobStore()


@pytest.fixture
def tracker(store: MemoryJobStore, clock: Clock) -> JobTracker:
    return JobTracker(JobSettings(queue_limit=10, lease_seconds=30, max_attempts=3), store, clock)


def submit(tracker: JobTracker, *job_ids: str) -> list[int]:
    return [tracker.submit(job_id, SPEC) for job_id in job_ids]


def state(tracker: JobTracker, job_id: str) -> JobState:
    view = tracker.view(job_id)
    assert view is not None
    return view.job.state


def test_positions_count_from_one_and_move_up_as_jobs_are_claimed(tracker: JobTracker) -> None:
    assert submit(tracker, "a", "b", "c") == [1, 2, 3]
    tracker.claim()
    assert [tracker.view(job_id).queue_position for job_id in "abc"] == [0, 1, 2]


def test_without_history_the_fifth_in_line_waits_25_seconds(tracker: JobTracker) -> None:
    submit(tracker, "a", "b", "c", "d", "e")
    view = tracker.view("e")
    assert (view.queue_position, view.eta_seconds, view.avg_job_seconds) == (5, 25.0, 5.0)


def test_eta_follows_measured_jobs(tracker: JobTracker, clock: Clock) -> None:
    submit(tracker, "a", "b")
    claim = tracker.claim()
    clock.now += 12
    assert tracker.finish("a", claim.token, RESULT, ("file:///a.wav",))
    assert tracker.view("b").eta_seconds == 12.0
    tracker.claim()
    clock.now += 4
    assert tracker.view("b").eta_seconds == 8.0
    assert tracker.view("a").eta_seconds is None


def test_jobs_are_claimed_in_the_order_of_submission(tracker: JobTracker) -> None:
    submit(tracker, "a", "b", "c")
    assert [tracker.claim().job.job_id for _ in range(3)] == ["a", "b", "c"]
    assert tracker.claim() is None


def test_a_full_line_refuses_and_keeps_nothing(tracker: JobTracker) -> None:
    submit(tracker, *map(str, range(10)))
    with pytest.raises(QueueFullError) as refused:
        tracker.submit("late", SPEC)
    assert refused.value.retry_after == 5
    assert tracker.view("late") is None
    assert tracker.stats().jobs["queued"] == 10


def test_a_finished_job_carries_its_result_and_leaves_the_line(tracker: JobTracker, clock: Clock) -> None:
    submit(tracker, "a")
    claim = tracker.claim()
    clock.now += 3
    assert tracker.finish("a", claim.token, RESULT, ("file:///a.wav",))
    view = tracker.view("a")
    assert (view.job.state, view.job.result, view.job.files) == ("succeeded", RESULT, ("file:///a.wav",))
    assert (view.job.progress, view.job.stage, view.queue_position) == (1.0, "done", 0)
    assert view.job.finished_at == clock.now


def test_an_expired_lease_puts_the_job_back_at_its_place(tracker: JobTracker, clock: Clock) -> None:
    submit(tracker, "a", "b", "c")
    lost = tracker.claim()
    clock.now += 31
    assert tracker.requeue_expired() == ["a"]
    assert [tracker.view(job_id).queue_position for job_id in "abc"] == [1, 2, 3]
    again = tracker.claim()
    assert (again.job.job_id, again.job.attempt) == ("a", 2)
    assert not tracker.heartbeat("a", lost.token, "denoising", 0.5)
    assert not tracker.finish("a", lost.token, RESULT, ())
    assert tracker.finish("a", again.token, RESULT, ())


def test_heartbeats_keep_the_lease_and_carry_progress(tracker: JobTracker, clock: Clock) -> None:
    submit(tracker, "a")
    claim = tracker.claim()
    for _ in range(4):
        clock.now += 20
        assert tracker.heartbeat("a", claim.token, "denoising", 0.5)
        assert tracker.requeue_expired() == []
    view = tracker.view("a")
    assert (view.job.stage, view.job.progress) == ("denoising", 0.5)


def test_a_job_that_loses_every_runner_fails_after_the_last_attempt(
    tracker: JobTracker, clock: Clock
) -> None:
    submit(tracker, "a")
    for _ in range(3):
        assert tracker.claim() is not None
        clock.now += 31
        tracker.requeue_expired()
    view = tracker.view("a")
    assert view.job.state is JobState.FAILED
    assert "3 times" in view.job.error


def test_a_retryable_failure_is_tried_again_a_final_one_is_not(tracker: JobTracker) -> None:
    submit(tracker, "a", "b")
    first = tracker.claim()
    assert tracker.fail("a", first.token, "no codec", retryable=True)
    assert state(tracker, "a") is JobState.QUEUED
    again = tracker.claim()
    assert again.job.job_id == "a"
    assert tracker.fail("a", again.token, "bad latents", retryable=False)
    view = tracker.view("a")
    assert (view.job.state, view.job.error) == ("failed", "bad latents")
    assert view.job.result is None


def test_a_released_job_keeps_its_place_and_its_attempts(tracker: JobTracker) -> None:
    submit(tracker, "a", "b")
    claim = tracker.claim()
    assert tracker.release("a", claim.token)
    again = tracker.claim()
    assert (again.job.job_id, again.job.attempt) == ("a", 1)


def test_a_new_tracker_goes_on_from_the_store(
    tracker: JobTracker, store: MemoryJobStore, clock: Clock
) -> None:
    submit(tracker, "a", "b", "c")
    claim = tracker.claim()
    restarted = JobTracker(JobSettings(), store, clock)
    assert restarted.view("c").queue_position == 2
    assert restarted.finish("a", claim.token, RESULT, ())
    assert restarted.submit("d", SPEC) == 3
    assert restarted.stats().jobs == {"queued": 3, "running": 0, "succeeded": 1, "failed": 0}


def test_stats_average_stages_over_the_jobs_that_had_them(tracker: JobTracker, clock: Clock) -> None:
    submit(tracker, "a", "b")
    for timings in ({"denoising": 2.0, "composing": 4.0}, {"denoising": 4.0}):
        claim = tracker.claim()
        clock.now += 6
        tracker.finish(claim.job.job_id, claim.token, {"timings": timings}, ())
    assert tracker.stats().stage_seconds == {"denoising": 3.0, "composing": 4.0}
    assert tracker.stats().avg_job_seconds == 6.0
