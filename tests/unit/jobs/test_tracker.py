"""The tracker: order, positions, leases, attempts and ends. Only the clock is simulated."""

from dataclasses import replace

import pytest

from configs.domain import Task
from deployments.common.messages import STAGES, Metadata
from serve_app.jobs.errors import IdempotencyConflictError, JobEndedError
from serve_app.jobs.model import Callback, Checkpoint, IdempotencyKey, JobState, JobView
from serve_app.request.song_plan import SongPlan
from tests.job_tracking import WORK, Tracking

RESULT = {"timings": {"denoising": 2.0}}
FILES = ("memory://song.wav",)
PLAN = SongPlan(Task.TEXT2MUSIC, Metadata(), (10.0,), None, lm_answered=False)


@pytest.fixture
def tracking() -> Tracking:
    return Tracking(queue_limit=10, client_jobs=10, lease_seconds=30, max_attempts=3)


def view(tracking: Tracking, job_id: str) -> JobView:
    found = tracking.view(job_id)
    assert found is not None
    return found


def finish(tracking: Tracking, job_id: str, token: str) -> bool:
    return tracking.tracker.finish(job_id, token, RESULT, FILES, 100)


def test_positions_count_from_one_and_move_up_as_jobs_are_claimed(tracking: Tracking) -> None:
    a, b, c = (tracking.submit() for _ in range(3))
    tracking.tracker.claim("token")
    assert [view(tracking, job).queue_position for job in (a, b, c)] == [0, 1, 2]


def test_a_submit_that_is_repeated_is_one_job(tracking: Tracking) -> None:
    new = tracking.new_job()
    first = tracking.take(new)
    assert tracking.take(new) == first
    assert tracking.tracker.stats().jobs["queued"] == 1


def test_a_submit_repeated_when_the_job_is_long_closed_starts_nothing(tracking: Tracking) -> None:
    new = tracking.new_job()
    tracking.take(new)
    tracking.run_next(1)
    tracking.tidied(new.job_id)
    tracking.restart()
    assert tracking.take(new).state is JobState.SUCCEEDED
    assert tracking.tracker.claim("token") is None


def test_jobs_of_a_client_are_claimed_in_the_order_of_submission(tracking: Tracking) -> None:
    jobs = [tracking.submit() for _ in range(3)]
    assert [tracking.tracker.claim(str(n)).job.job_id for n in range(3)] == jobs
    assert tracking.tracker.claim("none left") is None


def test_a_claim_that_is_repeated_gives_the_same_job(tracking: Tracking) -> None:
    tracking.submit()
    tracking.submit()
    assert tracking.tracker.claim("token") == tracking.tracker.claim("token")


def test_higher_priorities_go_first(tracking: Tracking) -> None:
    low, high = tracking.submit(), tracking.submit(priority=3)
    assert [view(tracking, job).queue_position for job in (low, high)] == [2, 1]


def test_a_finished_job_carries_its_result_and_leaves_the_queue(tracking: Tracking) -> None:
    job = tracking.submit()
    claim = tracking.tracker.claim("token")
    tracking.clock.now += 3
    assert finish(tracking, job, claim.token)
    ended = view(tracking, job)
    assert (ended.state, ended.result, ended.files) == ("succeeded", RESULT, FILES)
    assert (ended.progress, ended.stage, ended.queue_position) == (1.0, "done", 0)
    assert (ended.eta_seconds, ended.finished_at) == (None, tracking.clock.now)


def test_a_finish_that_is_repeated_is_told_the_same(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.tracker.claim("token")
    assert finish(tracking, job, "token")
    tracking.tidied(job)
    assert finish(tracking, job, "token")
    assert tracking.tracker.stats().jobs["succeeded"] == 1


def test_an_expired_lease_puts_the_job_back_at_its_place(tracking: Tracking) -> None:
    jobs = [tracking.submit() for _ in range(3)]
    tracking.tracker.claim("lost")
    tracking.clock.now += 31
    assert tracking.tracker.requeue_expired() == [jobs[0]]
    assert [view(tracking, job).queue_position for job in jobs] == [1, 2, 3]
    again = tracking.tracker.claim("found")
    assert (again.job.job_id, again.job.attempt) == (jobs[0], 2)
    assert not tracking.tracker.heartbeat(jobs[0], "lost", "denoising", 0.5)
    assert not finish(tracking, jobs[0], "lost")
    assert finish(tracking, jobs[0], "found")


def test_heartbeats_keep_the_lease_and_carry_progress(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.tracker.claim("token")
    for _ in range(4):
        tracking.clock.now += 20
        assert tracking.tracker.heartbeat(job, "token", "denoising", 0.5)
        assert tracking.tracker.requeue_expired() == []
    assert (view(tracking, job).stage, view(tracking, job).progress) == ("denoising", 0.5)


def test_progress_never_falls_in_another_attempt_or_with_another_tracker(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.tracker.claim("first")
    seen = [view(tracking, job).progress]

    def look() -> None:
        seen.append(view(tracking, job).progress)

    for progress in (0.1, 0.4, 0.6):
        tracking.tracker.heartbeat(job, "first", "denoising", progress)
        look()
    assert seen == [0.0, 0.1, 0.4, 0.6]
    tracking.restart()  # It knows that the progress was at most 0.75.
    look()
    tracking.tracker.heartbeat(job, "first", "denoising", 0.7)
    tracking.tracker.fail(job, "first", "no codec", retryable=True)
    look()
    tracking.restart()
    look()
    tracking.tracker.claim("second")
    tracking.tracker.heartbeat(job, "second", "planning", 0.05)
    look()
    assert seen[4:] == [0.75] * 4
    tracking.tracker.heartbeat(job, "second", "decoding", 0.8)
    assert finish(tracking, job, "second")
    look()
    assert seen[8:] == [1.0]


def test_few_heartbeats_write_a_record(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.tracker.claim("token")
    written = 0
    for step in range(100):
        tracking.flush()
        tracking.tracker.heartbeat(job, "token", "denoising", step / 100)
        written += not tracking.journal.is_written(job)
    assert written == 4


def test_a_job_that_loses_every_runner_fails_after_the_last_attempt(tracking: Tracking) -> None:
    job = tracking.submit()
    for attempt in range(3):
        assert tracking.tracker.claim(str(attempt)) is not None
        tracking.clock.now += 31
        tracking.tracker.requeue_expired()
    assert view(tracking, job).state is JobState.FAILED
    assert "3 times" in view(tracking, job).error


def test_a_retryable_failure_is_tried_again_a_final_one_is_not(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.submit()
    tracking.tracker.claim("first")
    assert tracking.tracker.fail(job, "first", "no codec", retryable=True)
    assert view(tracking, job).state is JobState.QUEUED
    assert tracking.tracker.claim("second").job.job_id == job
    assert tracking.tracker.fail(job, "second", "bad latents", retryable=False)
    assert tracking.tracker.fail(job, "second", "bad latents", retryable=False)
    ended = view(tracking, job)
    assert (ended.state, ended.error, ended.result) == ("failed", "bad latents", None)


def test_a_released_job_keeps_its_place_and_its_attempts(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.submit()
    tracking.tracker.claim("first")
    assert tracking.tracker.release(job, "first")
    assert view(tracking, job).started_at is None
    again = tracking.tracker.claim("second")
    assert (again.job.job_id, again.job.attempt) == (job, 1)
    assert not tracking.tracker.release(job, "first")


def test_the_next_attempt_goes_on_from_the_checkpoint(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.tracker.claim("first")
    checkpoint = Checkpoint(PLAN, codes=((1, 2, 3),), timings={"composing": 2.0})
    assert tracking.tracker.checkpoint(job, "first", checkpoint)
    tracking.restart()
    tracking.clock.now += 31
    assert tracking.tracker.requeue_expired() == [job]
    assert tracking.tracker.claim("second").job.checkpoint == checkpoint
    assert not tracking.tracker.checkpoint(job, "first", Checkpoint())


def test_the_demand_follows_the_durations_that_the_plan_decided(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.tracker.claim("token")
    before = tracking.tracker.demand()["running"]["denoising"]
    twice_as_long = replace(PLAN, durations=(20.0,))
    assert tracking.tracker.checkpoint(job, "token", Checkpoint(twice_as_long))
    assert tracking.tracker.demand()["running"]["denoising"] == 2 * before


def test_cancelling_takes_a_job_out_of_the_queue(tracking: Tracking) -> None:
    first, second = tracking.submit(), tracking.submit()
    assert tracking.tracker.cancel(first).state is JobState.CANCELLED
    assert tracking.tracker.cancel(first).state is JobState.CANCELLED
    assert view(tracking, second).queue_position == 1
    assert [job.job_id for job in tracking.tracker.ended.untidy()] == [first]
    assert tracking.tracker.cancel("unknown") is None


def test_cancelling_takes_the_lease_of_a_running_job(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.tracker.claim("token")
    tracking.tracker.cancel(job)
    assert not tracking.tracker.holds_lease(job, "token")
    assert not finish(tracking, job, "token")
    assert view(tracking, job).state is JobState.CANCELLED
    assert tracking.tracker.ended.untidy() == []
    tracking.tracker.runner_stopped(job)
    assert [untidy.job_id for untidy in tracking.tracker.ended.untidy()] == [job]


def test_a_cancelled_job_is_tidied_when_its_runner_would_have_lost_the_lease(tracking: Tracking) -> None:
    job = tracking.submit()
    tracking.tracker.claim("token")
    tracking.tracker.cancel(job)
    tracking.clock.now += 30
    assert [untidy.job_id for untidy in tracking.tracker.ended.untidy()] == [job]


def test_a_job_that_has_ended_can_not_be_cancelled(tracking: Tracking) -> None:
    tracking.submit()
    job = tracking.run_next(1)
    with pytest.raises(JobEndedError):
        tracking.tracker.cancel(job)


def test_an_idempotency_key_gives_the_same_job_for_a_day(tracking: Tracking) -> None:
    key = IdempotencyKey("key", "fingerprint")
    job = tracking.submit("me", idempotency=key)
    assert tracking.submit("me", idempotency=key) == job
    assert tracking.submit("another", idempotency=key) != job
    with pytest.raises(IdempotencyConflictError):
        tracking.submit("me", idempotency=replace(key, fingerprint="of another body"))
    tracking.run_next(1)
    tracking.tidied(job)
    assert tracking.submit("me", idempotency=key) == job
    tracking.restart()
    assert tracking.submit("me", idempotency=key) == job
    tracking.clock.now += 24 * 3600 + 1
    assert tracking.submit("me", idempotency=key) != job


def test_an_end_is_told_to_the_callback_once(tracking: Tracking) -> None:
    job = tracking.submit(callback_url="https://example.org/")
    tracking.run_next(1)
    tracking.tidied(job)
    assert [due.job_id for due in tracking.tracker.ended.callbacks_due()] == [job]
    tracking.called_back(job, Callback(tracking.clock.now + 5, attempts=1))
    assert tracking.tracker.ended.callbacks_due() == []
    tracking.restart()
    tracking.clock.now += 5
    assert [due.callback.attempts for due in tracking.tracker.ended.callbacks_due()] == [1]
    tracking.called_back(job, None)
    assert tracking.tracker.ended.callbacks_due() == []


def test_a_new_tracker_goes_on_from_the_store(tracking: Tracking) -> None:
    a, b, c = (tracking.submit() for _ in range(3))
    claim = tracking.tracker.claim("token")
    tracking.restart()
    assert view(tracking, c).queue_position == 2
    assert view(tracking, a).eta_seconds >= 0
    assert tracking.tracker.claim("token").job.job_id == a
    assert finish(tracking, a, claim.token)
    assert tracking.tracker.cancel(b)
    assert view(tracking, tracking.submit()).queue_position == 2
    assert tracking.tracker.stats().jobs == {
        "queued": 2,
        "running": 0,
        "succeeded": 1,
        "failed": 0,
        "cancelled": 1,
    }


def test_a_restart_gives_runners_a_fresh_lease(tracking: Tracking) -> None:
    """Nobody could renew a lease while the tracker was away."""
    job = tracking.submit()
    tracking.tracker.claim("token")
    tracking.flush()
    tracking.clock.now += 100
    tracking.start()
    assert tracking.tracker.requeue_expired() == []
    assert tracking.tracker.heartbeat(job, "token", "denoising", 0.5)


def test_forgotten_records_are_counted_once(tracking: Tracking) -> None:
    tracking.submit()
    job = tracking.run_next(1)
    tracking.tidied(job)
    tracking.flush()
    expired = [tracking.store.get(job)]
    tracking.tracker.ended.records_expired(expired)
    tracking.tracker.ended.records_expired(expired)
    assert tracking.view(job) is None
    assert tracking.tracker.stats().jobs["succeeded"] == 0
    assert tracking.tracker.ended.stored_bytes == 0


def test_stats_average_stages_over_the_jobs_that_had_them(tracking: Tracking) -> None:
    tracking.submit(work=replace(WORK, calls=(0.0, 1.0, 1.0, 0.0, 0.0)))
    tracking.submit()
    tracking.run_next(6, denoising=2.0, composing=4.0)
    tracking.run_next(6, denoising=4.0)
    stats = tracking.tracker.stats()
    assert stats.stage_seconds == {"denoising": 3.0, "composing": 4.0}
    assert stats.avg_job_seconds == 6.0


def test_demand_is_what_was_submitted_what_waits_and_what_is_left_of_what_runs(tracking: Tracking) -> None:
    a = tracking.submit()
    tracking.submit()
    each = dict(zip(STAGES, WORK.units, strict=True)) | {"planning": WORK.calls[0]}
    del each["encoding"]
    nothing = dict.fromkeys(each, 0.0)
    twice = {stage: 2 * units for stage, units in each.items()}
    came = {"submitted": twice, "withdrawn": nothing}
    assert tracking.tracker.demand() == {**came, "waiting": twice, "running": nothing}
    tracking.tracker.claim("token")
    tracking.tracker.heartbeat(a, "token", "denoising", 0.9)
    left = each | {"planning": 0.0, "composing": 0.0}
    assert tracking.tracker.demand() == {**came, "waiting": each, "running": left}
    finish(tracking, a, "token")
    assert tracking.tracker.demand() == {**came, "waiting": each, "running": nothing}


def test_the_demand_of_a_checkpoint_other_than_the_default_stands_apart(tracking: Tracking) -> None:
    for dit in ("turbo", "base", "base"):
        models = {"planning/lm": (1.0, 0.0, 0.0), f"denoising/{dit}": (1.0, 80.0, 80.0)}
        tracking.submit(work=replace(WORK, calls=(1.0, 0.0, 1.0, 0.0, 0.0), models=models))
    tracking.submit()  # of an earlier release, which did not note the checkpoints
    waiting = tracking.tracker.demand(defaults={"turbo", "lm"})["waiting"]
    stages = {"planning": 3.0, "composing": 0.0, "denoising": 160.0, "decoding": 0.0}
    assert waiting == stages | {"denoising/base": 160.0}


def test_a_job_that_has_ended_keeps_no_results_of_its_stages() -> None:
    tracking = Tracking()
    job_id = tracking.submit()
    assert tracking.tracker.claim("token") is not None
    assert tracking.tracker.checkpoint(job_id, "token", Checkpoint(codes=((1, 2, 3),)))
    assert tracking.tracker.finish(job_id, "token", {"timings": {}}, (), 0)
    tracking.flush()
    stored = tracking.store.get(job_id)
    assert stored is not None
    assert stored.checkpoint == Checkpoint()
