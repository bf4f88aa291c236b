"""The rules that hold after any sequence of actions."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from serve_app.jobs.ended import LONGEST_CALLBACK_PAUSE
from serve_app.jobs.errors import (
    DrainingError,
    IdempotencyConflictError,
    JobEndedError,
    LimitError,
    RequeueError,
)
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Accepted, Callback, Checkpoint, IdempotencyKey, JobState
from serve_app.request.work import Work
from tests.job_tracking import WORK
from tests.modelled_tracker import (
    CHECKPOINT,
    CLIENT_JOBS,
    CLIENTS,
    LEASE_SECONDS,
    MAX_ATTEMPTS,
    QUEUE_LIMIT,
    ModelledTracker,
)

DAY = 24 * 3600.0


class JobTrackerMachine(ModelledTracker):
    # Actions of clients

    @rule(
        client=st.sampled_from(CLIENTS),
        priority=st.sampled_from((0, 0, 0, 5)),
        seconds=st.floats(1, 100),
        uploaded=st.sampled_from((0, 500)),
        callback=st.booleans(),
        within=st.sampled_from((None, None, 5.0, 90.0)),
        twice=st.booleans(),
    )
    def submit(
        self,
        client: str,
        priority: int,
        seconds: float,
        uploaded: int,
        callback: bool,
        within: float | None,
        twice: bool,
    ) -> None:
        new = self.tracking.new_job(
            client,
            priority=priority,
            work=WORK.lasting(seconds),
            uploaded_bytes=uploaded,
            callback_url="https://example.org" if callback else None,
            start_within_seconds=within,
        )
        mine = sum(job.new.client.name == client and not job.state.is_final for job in self.jobs.values())
        refused = len(self.in_state(JobState.QUEUED)) >= QUEUE_LIMIT or mine >= CLIENT_JOBS
        refused = refused or self.is_too_fast(client)
        if self.mode is Mode.DRAINING:
            with pytest.raises(DrainingError):
                self.tracking.take(new)
            assert self.tracking.view(new.job_id) is None
            return
        if refused:
            with pytest.raises(LimitError) as refusal:
                self.tracking.take(new)
            assert math.isfinite(refusal.value.retry_after)
            assert refusal.value.retry_after >= 0
            assert self.tracking.view(new.job_id) is None
            return
        accepted = self.tracking.take(new)
        self.submitted(new)
        if twice:
            assert self.tracking.take(new) == accepted

    @rule(client=st.sampled_from(CLIENTS), count=st.integers(1, 3), callback=st.booleans())
    def submit_batch(self, client: str, count: int, callback: bool) -> None:
        """All jobs enter the queue, or none does."""
        news = [self.tracking.new_job(client) for _ in range(count)]
        mine = sum(job.new.client.name == client and not job.state.is_final for job in self.jobs.values())
        refused = len(self.in_state(JobState.QUEUED)) + count > QUEUE_LIMIT or mine + count > CLIENT_JOBS
        refused = refused or self.is_too_fast(client) or self.mode is Mode.DRAINING
        url = "https://example.org" if callback else None
        if refused:
            with pytest.raises((DrainingError, LimitError)):
                self.tracking.tracker.submit_batch(news, url)
            assert all(self.tracking.view(new.job_id) is None for new in news)
            return
        accepted = self.tracking.tracker.submit_batch(news, url)
        for new in news:
            self.submitted(new)
        assert [job.job_id for job in accepted.jobs] == [new.job_id for new in news]
        if callback:
            self.batches[accepted.batch_id] = {new.job_id for new in news}

    @rule(client=st.sampled_from(CLIENTS), key=st.integers(0, 2), fingerprint=st.sampled_from("ab"))
    def submit_with_a_key(self, client: str, key: int, fingerprint: str) -> None:
        idempotency = IdempotencyKey(str(key), fingerprint)
        new = self.tracking.new_job(client, idempotency=idempotency)
        earlier = [
            job.new
            for job in self.jobs.values()
            if job.new.client.name == client and job.new.idempotency and job.new.idempotency.key == str(key)
        ]
        if any(self.tracking.steady.now - job.submitted_at > DAY for job in self.jobs.values()):
            return  # A key may be forgotten from then on.
        accepted: Accepted | None = None
        try:
            accepted = self.tracking.take(new)
        except (DrainingError, LimitError):
            assert not earlier
        except IdempotencyConflictError:
            assert earlier[-1].idempotency != idempotency
        if accepted is not None and not earlier:
            self.submitted(new)
        elif accepted is not None:
            assert accepted.job_id == earlier[-1].job_id
            assert earlier[-1].idempotency == idempotency

    @precondition(lambda self: self.jobs)
    @rule(choice=st.integers(0, 5), twice=st.booleans())
    def cancel(self, choice: int, twice: bool) -> None:
        job_id = list(self.jobs)[choice % len(self.jobs)]
        job = self.jobs[job_id]
        self.tracking.recall(job_id)
        for _ in range(1 + twice):
            if job.state in {JobState.SUCCEEDED, JobState.FAILED}:
                with pytest.raises(JobEndedError):
                    self.tracking.tracker.cancel(job_id)
            else:
                if job.state is not JobState.CANCELLED and job_id in self.came:
                    self.demanded -= self.work_to_do(job_id)
                view = self.tracking.tracker.cancel(job_id)
                assert view is not None
                assert view.state is JobState.CANCELLED
                job.state, job.start_by = JobState.CANCELLED, None

    @precondition(lambda self: self.jobs)
    @rule(choice=st.integers(0, 5), stranger=st.booleans(), twice=st.booleans())
    def purge(self, choice: int, stranger: bool, twice: bool) -> None:
        """The job is unknown at once; its record goes with the next `delete_purged`."""
        job_id = list(self.jobs)[choice % len(self.jobs)]
        job = self.jobs[job_id]
        self.tracking.recall(job_id)
        owner = job.new.client.name
        assert not self.tracking.tracker.purge(job_id, f"not {owner}")
        if stranger:
            return
        if not job.state.is_final:
            if job_id in self.came:
                self.demanded -= self.work_to_do(job_id)
            job.state = JobState.CANCELLED
        for _ in range(1 + twice):
            assert self.tracking.tracker.purge(job_id, owner)
        self.purged[job_id] = self.jobs.pop(job_id)
        assert self.tracking.view(job_id) is None
        assert self.tracking.tracker.cancel(job_id) is None
        assert self.tracking.tracker.requeue(job_id) is None

    # Actions of runners

    @rule(twice=st.booleans())
    def claim(self, twice: bool) -> None:
        self.check_deadlines()
        queue = self.queue()
        token = f"token {len(self.tokens)}"
        claim = self.tracking.tracker.claim(token)
        if not queue or self.mode is Mode.PAUSED:
            assert claim is None
            return
        assert claim is not None
        job = self.jobs[queue[0]]
        assert claim.job.job_id == queue[0]
        assert claim.job.attempt == job.attempt + 1 <= job.forgiven + MAX_ATTEMPTS
        assert claim.job.checkpoint == job.checkpoint
        job.state, job.token, job.attempt = JobState.RUNNING, token, claim.job.attempt
        job.expires_at = self.tracking.steady.now + LEASE_SECONDS
        job.start_by = None
        self.tokens.append((queue[0], token))
        if twice:
            assert self.tracking.tracker.claim(token) == claim

    @precondition(lambda self: self.tokens)
    @rule(
        choice=st.integers(0, 5),
        stage=st.sampled_from(("planning", "denoising", "encoding")),
        progress=st.floats(0, 1),
    )
    def heartbeat(self, choice: int, stage: str, progress: float) -> None:
        job_id, token, held = self.holder(choice)
        assert self.tracking.tracker.heartbeat(job_id, token, stage, progress) is held
        if held:
            self.jobs[job_id].expires_at = self.tracking.steady.now + LEASE_SECONDS

    @precondition(lambda self: self.tokens)
    @rule(choice=st.integers(0, 5))
    def checkpoint(self, choice: int) -> None:
        job_id, token, held = self.holder(choice)
        assert self.tracking.tracker.checkpoint(job_id, token, CHECKPOINT) is held
        if held:
            self.jobs[job_id].checkpoint = CHECKPOINT

    @precondition(lambda self: self.tokens)
    @rule(choice=st.integers(0, 5), seconds=st.floats(0, 10), twice=st.booleans())
    def finish(self, choice: int, seconds: float, twice: bool) -> None:
        job_id, token, held = self.holder(choice)
        known = self.jobs | self.purged
        ended_so = job_id in known and self.record(job_id).lease_token == token
        ended_so = ended_so and known[job_id].state is JobState.SUCCEEDED
        result = {"timings": {"denoising": seconds}}
        self.tracking.recall(job_id)
        for _ in range(1 + twice):
            finished = self.tracking.tracker.finish(job_id, token, result, ("memory://song",), 1000)
            assert finished is (held or ended_so)
        if held:
            self.jobs[job_id].state = JobState.SUCCEEDED

    @precondition(lambda self: self.tokens)
    @rule(choice=st.integers(0, 5), retryable=st.booleans())
    def fail(self, choice: int, retryable: bool) -> None:
        job_id, token, held = self.holder(choice)
        self.tracking.recall(job_id)
        told = self.tracking.tracker.fail(job_id, token, "It failed.", retryable)
        if not held:
            return
        assert told
        job = self.jobs[job_id]
        if retryable and job.attempt - job.forgiven < MAX_ATTEMPTS:
            self.requeued(job, job.attempt)
        else:
            job.state = JobState.FAILED

    @precondition(lambda self: self.tokens)
    @rule(choice=st.integers(0, 5), twice=st.booleans())
    def release(self, choice: int, twice: bool) -> None:
        job_id, token, held = self.holder(choice)
        assert self.tracking.tracker.release(job_id, token) is held
        if held:
            self.requeued(self.jobs[job_id], self.jobs[job_id].attempt - 1)
        if twice:
            assert not self.tracking.tracker.release(job_id, token)

    @precondition(lambda self: self.tokens)
    @rule(choice=st.integers(0, 5))
    def left(self, choice: int) -> None:
        self.tracking.tracker.runner_stopped(self.tokens[choice % len(self.tokens)][0])

    # Actions of operators

    @rule(mode=st.sampled_from((Mode.OPEN, Mode.OPEN, *Mode)))
    def set_mode(self, mode: Mode) -> None:
        self.tracking.store.set_mode(mode)
        self.tracking.tracker.mode = self.mode = mode

    @precondition(lambda self: self.jobs)
    @rule(choice=st.integers(0, 5), twice=st.booleans())
    def requeue(self, choice: int, twice: bool) -> None:
        job_id = list(self.jobs)[choice % len(self.jobs)]
        job = self.jobs[job_id]
        self.tracking.recall(job_id)
        refused = job.state in {JobState.SUCCEEDED, JobState.CANCELLED}
        refused = refused or self.record(job_id).tidy_at is not None
        for _ in range(1 + twice):
            if refused:
                with pytest.raises(RequeueError):
                    self.tracking.tracker.requeue(job_id)
                continue
            view = self.tracking.tracker.requeue(job_id)
            assert view is not None
            assert view.state is JobState.QUEUED
            if job.state is not JobState.QUEUED:
                if job.state.is_final:
                    job.checkpoint = Checkpoint()
                    job.came_back = True
                job.forgiven = job.attempt
                self.requeued(job, job.attempt)

    # Passing of time

    @rule(seconds=st.floats(0, 2 * LEASE_SECONDS))
    def wait(self, seconds: float) -> None:
        self.tracking.wait(seconds)
        self.passed(seconds)
        now = self.tracking.steady.now
        lost = {job_id for job_id in self.in_state(JobState.RUNNING) if self.jobs[job_id].expires_at <= now}
        assert set(self.tracking.tracker.requeue_expired()) == lost
        for job in map(self.jobs.__getitem__, lost):
            if job.attempt - job.forgiven < MAX_ATTEMPTS:
                self.requeued(job, job.attempt)
            else:
                job.state = JobState.FAILED
        self.check_deadlines()

    @rule(step=st.sampled_from((31.0, 3600.0, 8 * DAY)), direction=st.sampled_from((1, -1)))
    def set_the_wall_clock(self, step: float, direction: int) -> None:
        """Nothing else changes: no lease ends, no deadline passes, and no estimate changes."""
        self.check_deadlines()  # A restart after an earlier step may have brought them forward.
        before = {job_id: self.view(job_id).eta_seconds for job_id in self.jobs}
        self.tracking.clock.now += direction * step
        assert self.tracking.tracker.requeue_expired() == []
        assert self.tracking.tracker.fail_late() == []
        assert {job_id: self.view(job_id).eta_seconds for job_id in self.jobs} == before

    @rule()
    def restart(self) -> None:
        queue = self.queue()
        self.tracking.restart()
        self.every_end_was_counted_once()
        self.tokens_left, self.demanded, self.came = {}, Work(), set()
        self.see_deadlines(queue)
        assert self.queue() == queue
        assert self.tracking.tracker.stats().mode is self.mode
        for job_id in self.in_state(JobState.RUNNING):
            self.jobs[job_id].expires_at = self.tracking.steady.now + LEASE_SECONDS

    @rule(twice=st.booleans())
    def tidy(self, twice: bool) -> None:
        self.wait(LEASE_SECONDS)
        self.tracking.flush()  # The janitor waits until an end is written.
        for job in self.tracking.tracker.ended.untidy():
            assert (self.jobs | self.purged)[job.job_id].state.is_final
            for _ in range(1 + twice):
                self.tracking.tidied(job.job_id)
        assert self.tracking.tracker.ended.untidy() == []

    @rule(again=st.booleans())
    def call_back_about_batches(self, again: bool) -> None:
        """A batch is due when its last job has ended; it may be due again after a requeue."""
        self.wait(LONGEST_CALLBACK_PAUSE)
        later = Callback(self.tracking.clock.now + 1, attempts=1)
        for job in self.tracking.tracker.ended.batch_callbacks_due():
            assert job.batch is not None
            self.called_back.add(job.batch.batch_id)
            self.tracking.batch_called_back(job.job_id, later if again else None)
        assert self.tracking.tracker.ended.batch_callbacks_due() == []
        for batch_id, members in self.batches.items():
            alive = self.jobs.keys() & members
            if alive == members and all(self.jobs[job_id].state.is_final for job_id in members):
                assert batch_id in self.called_back

    @rule(again=st.booleans())
    def call_back(self, again: bool) -> None:
        self.wait(LONGEST_CALLBACK_PAUSE)
        later = Callback(self.tracking.clock.now + 1, attempts=1)
        for job in self.tracking.tracker.ended.callbacks_due():
            self.tracking.called_back(job.job_id, later if again else None)
        assert self.tracking.tracker.ended.callbacks_due() == []

    @rule()
    def delete_purged(self) -> None:
        """Delete the records of purged jobs whose files are gone and whose callbacks are made."""
        for job in self.tracking.tracker.ended.purged():
            del self.purged[job.job_id]
            self.tracking.tracker.ended.records_expired([job])
            assert self.tracking.record(job.job_id) is None
        assert self.tracking.tracker.ended.purged() == []

    @rule(records=st.booleans(), twice=st.booleans())
    def expire(self, records: bool, twice: bool) -> None:
        """Delete the files of all closed jobs, or their files and records."""
        closed = [job for job in map(self.record, self.jobs) if job.is_settled]
        for _ in range(1 + twice):
            if records:
                self.tracking.tracker.ended.records_expired(closed)
            else:
                self.tracking.tracker.ended.files_expired(closed)
        for job in closed if records else []:
            del self.jobs[job.job_id]
            assert self.tracking.view(job.job_id) is None


TestJobTracker = JobTrackerMachine.TestCase
TestJobTracker.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
