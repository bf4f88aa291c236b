"""The line of jobs: who waits, who runs, who may finish what.

A plain class with clocks and journal injected; `serve_app.jobs.durable_tracker` serves it to others. It reads
the store when it is made and never again: a job that was closed long ago is recalled by whoever asks for it.
A job is leased to a runner: whoever holds the token may report and finish, until the lease ends. An expired
job goes back to its original place in the line, so whatever dies costs a retry and never a job. Methods that
a caller may repeat, because the answer to the first call was lost, give the same answer again.
"""

import sys
from itertools import islice
from typing import Any

from configs.metrics import FailureKind
from configs.settings import JobSettings
from serve_app.jobs.book import JobBook
from serve_app.jobs.clocks import CautiousClock, Clock
from serve_app.jobs.ended import EndedJobs
from serve_app.jobs.errors import DrainingError, JobEndedError, LimitError
from serve_app.jobs.forecast.demand import Arrivals, demand
from serve_app.jobs.forecast.eta import HISTORY_JOBS, SpeedHistory
from serve_app.jobs.forecast.forecast import Forecast
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Accepted, Checkpoint, Claim, Job, JobState, JobView, NewJob, TrackerStats
from serve_app.jobs.observer import JobObserver, Load
from serve_app.jobs.queue.admission import Admission
from serve_app.jobs.queue.fairness import FairClock
from serve_app.jobs.queue.job_queue import WaitingLine
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import JobStore
from serve_app.jobs.transitions import Moves

TOO_MANY_ATTEMPTS = "The server lost the process that ran this job, {attempts} times in a row."

_UNOBSERVED = JobObserver()


class JobTracker:
    """Order, positions, leases and history of all jobs."""

    def __init__(
        self,
        settings: JobSettings,
        journal: Journal,
        wall: Clock,
        observer: JobObserver = _UNOBSERVED,
        steady: Clock | None = None,
    ) -> None:
        """Reads the store, and blocks for as long as that takes. Raises StoreError.

        `steady` is the clock of durations, which nobody sets; None takes `wall` for it.
        """
        self._settings = settings
        self._wall = wall
        self._steady = steady or wall
        self._observer = observer
        self._book = JobBook(journal)
        self._speeds = SpeedHistory(settings.initial_job_seconds)
        self._line = WaitingLine()
        self._forecast = Forecast(self._speeds, self._line)
        self._fair = FairClock()
        self._next_sequence = journal.store.next_sequence()
        self._arrivals = Arrivals(self._next_sequence)
        self._admission = Admission(settings, journal.store.stored_bytes())
        self._moves = Moves(
            self._book,
            self._line,
            self._forecast,
            self._admission,
            wall,
            self._steady,
            observer,
            settings.max_attempts,
        )
        self.ended = EndedJobs(self._book, self._admission, wall, self._steady, settings.lease_seconds)
        self.mode = journal.store.mode()
        newest = journal.store.page(None, None, sys.maxsize, 1)
        latest = newest[0].ages_from if newest else None
        self._restore(journal.store)
        self._cautious_now = CautiousClock(wall, self._steady, latest)

    # What clients ask

    def repeated(self, new: NewJob, stored: Job | None) -> Accepted | None:
        """The answer to a submit that repeats an earlier one; None where it does not.

        `stored` is what the store has under its id or its idempotency key. Raises IdempotencyConflictError.
        """
        earlier = self._book.submitted_before(new, stored, self._cautious_now())
        return self._accepted(earlier) if earlier else None

    def submit(self, new: NewJob, stored: Job | None = None) -> Accepted:
        """Put a job in line, unless it repeats one.

        Raises DrainingError, LimitError or IdempotencyConflictError.
        """
        if accepted := self.repeated(new, stored):
            return accepted
        self._check(new.client.name, new.uploaded_bytes)
        last = self._line.last_of(new.client.name, -new.priority)
        place = self._fair.place(new.client, new.priority, new.work, last, self._next_sequence)
        self._next_sequence += 1
        job = Job.queued(new, place, created_at=self._wall(), submitted_at=self._cautious_now())
        self._admission.entered(job, self._steady())
        self._arrivals.came(job)
        self._moves.enter(self._book.save(job))
        self._observer.submitted()
        return self._accepted(job)

    def admit(self, client: str) -> None:
        """Refuse a request before its recordings are read, where `submit` would refuse it now.

        Nothing is reserved: `submit` decides. Raises DrainingError or LimitError.
        """
        self._check(client, 0)

    def key_counts(self, earlier: Job) -> bool:
        """Whether a job's idempotency key still stands for it: a submit under the same key repeats it."""
        return self._book.key_counts(earlier, self._cautious_now())

    def _check(self, client: str, uploaded_bytes: int) -> None:
        if self.mode is Mode.DRAINING:
            raise DrainingError
        try:
            self._admission.check(client, uploaded_bytes, len(self._line), self._forecast, self._steady())
        except LimitError as error:
            self._observer.refused(error.limit)
            raise

    def withdraw(self, new: NewJob) -> None:
        """Take a job back that could not be made durable, and that nobody was told of."""
        if job := self._book.open(new.job_id):
            self._arrivals.cancelled(job)
            self._moves.withdraw(job)

    def holds(self, job_id: str) -> bool:
        """Whether a job's record is in memory; else `recall` it from the store before asking about it."""
        return self._book.get(job_id) is not None

    def recall(self, job: Job) -> None:
        """Take a closed job's record from the store to mind."""
        self._book.recall(job)

    def set_aside(self, state: JobState) -> None:
        """The record of a closed job in this state could not be read, and is no job's any more."""
        self._book.counts[state] -= 1

    def view(self, job_id: str) -> JobView | None:
        """A job and its place among the others; None where the id is not known here."""
        job = self._book.get(job_id)
        return None if job is None else self.view_of(job)

    def view_of(self, job: Job) -> JobView:
        """A record as a poll sees it."""
        eta = self._forecast.until_result(job, self._steady())
        return JobView.of(job, self._position(job), eta, self._speeds.average_job_seconds)

    def cancel(self, job_id: str) -> JobView | None:
        """Take a job out of the line, or its lease from the runner; None where the id is unknown.

        Raises JobEndedError where it has succeeded or failed. Repeated, it changes nothing.
        """
        job = self._book.get(job_id)
        if job is None or job.state is JobState.CANCELLED:
            return self.view(job_id)
        if job.state.is_final:
            raise JobEndedError(job.state)
        # A runner may still write: its files are deleted when it says that it left, or its lease would end.
        self._arrivals.cancelled(job)
        still_writing = 0.0
        if job.state is JobState.RUNNING and job.lease_expires_at is not None:
            still_writing = job.lease_expires_at - self._steady()
        tidy_at = self._wall() + max(0.0, still_writing)
        cancelled = self._moves.end(job, JobState.CANCELLED, "cancelled", tidy_at=tidy_at)
        self.ended.cancelled(cancelled)
        self.ended.schedule(cancelled)
        return self.view_of(cancelled)

    # What runners do

    def claim(self, token: str) -> Claim | None:
        """Lease the first waiting job under the runner's new token; None where none may begin."""
        for job in self._book.running:
            if job.lease_token == token:
                return Claim(job, token)
        waiting = self._book.open(self._line.first() or "")
        if waiting is None or self.mode is Mode.PAUSED:
            return None
        now = self._steady()
        expires_at = now + self._settings.lease_seconds
        claimed = self._book.save(waiting.leased(token, self._wall(), expires_at))
        self._line.remove(claimed.place)
        self._fair.claimed(claimed.client, claimed.place)
        self._forecast.claimed(claimed, now)
        self._observer.claimed(claimed)
        return Claim(claimed, token)

    def heartbeat(self, job_id: str, token: str, stage: str, progress: float) -> bool:
        """Renew a lease and note how far the job is; False where the lease is lost and the work must stop.

        Kept in memory only: a restarted tracker gives every runner a fresh lease.
        """
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        now = self._steady()
        expires_at = now + self._settings.lease_seconds
        renewed = job.with_(stage=stage, progress=progress, lease_expires_at=expires_at)
        self._book.remember(renewed)
        self._forecast.heard(renewed, now)
        return True

    def checkpoint(self, job_id: str, token: str, checkpoint: Checkpoint) -> bool:
        """Keep the results of finished stages for the next attempt; False where the lease is lost."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        plan = checkpoint.plan
        work = job.work if plan is None else job.work.lasting(sum(plan.durations))
        self._book.save(job.with_(checkpoint=checkpoint, work=work))
        return True

    def finish(
        self, job_id: str, token: str, result: dict[str, Any], files: tuple[str, ...], file_bytes: int
    ) -> bool:
        """Publish the result of a leased job; False where the lease is lost and nothing was published."""
        job = self._leased_job(job_id, token)
        if job is None:
            return self._ended_by(job_id, token, JobState.SUCCEEDED)
        self._forecast.finished(job, self._steady(), result.get("timings", {}))
        published = {"result": result, "files": files, "file_bytes": file_bytes}
        done = {"stage": "done", "progress": 1.0, "tidy_at": self._wall()}
        self._moves.end(job, JobState.SUCCEEDED, "succeeded", **done, **published)
        return True

    def fail(
        self, job_id: str, token: str, error: str, retryable: bool, kind: FailureKind = "internal"
    ) -> bool:
        """End a leased job with one sentence for the user, or put it back in line while attempts are left.

        False where the lease is lost; so it is after a first call that put the job back.
        """
        job = self._leased_job(job_id, token)
        if job is None:
            return self._ended_by(job_id, token, JobState.FAILED)
        self._moves.attempt_failed(job, kind, error, retryable)
        return True

    def release(self, job_id: str, token: str) -> bool:
        """Give an unfinished job back (a replica shuts down); the attempt does not count."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        started_at = None if job.attempt == 1 else job.started_at
        self._moves.requeue(job, "handed_back", attempt=job.attempt - 1, started_at=started_at)
        return True

    def runner_stopped(self, job_id: str) -> None:
        """The runner of a cancelled job has stopped: nothing is written any more."""
        job = self._book.open(job_id)
        if job is not None and job.state is JobState.CANCELLED and job.tidy_at is not None:
            self.ended.schedule(self._book.save(job.with_(tidy_at=min(job.tidy_at, self._wall()))))

    def holds_lease(self, job_id: str, token: str) -> bool:
        """Whether a runner may still work on a job."""
        return self._leased_job(job_id, token) is not None

    # What operators ask

    def waiting(self, client: str | None, limit: int) -> list[JobView]:
        """The first who wait, of a client or (None) of all, in order."""
        found = (waiting.job_id for waiting in self._line if client in {None, waiting.client})
        return [view for job_id in islice(found, limit) if (view := self.view(job_id))]

    def requeue(self, job_id: str) -> JobView | None:
        """Put a job that failed back in line, or take one that runs from its runner.

        None where the id is unknown. Raises RequeueError. Repeated while it waits, it changes nothing.
        """
        job = self._book.get(job_id)
        if job is not None and job.state is JobState.RUNNING:
            self._moves.requeue(job, "requeued", forgiven=job.attempt)
        elif job is not None and job.state is not JobState.QUEUED:
            last = self._line.last_of(job.client, job.place.rank)
            self._moves.reopen(job, self._fair.place_again(job, last))
        return self.view(job_id)

    # What time does

    def requeue_expired(self) -> list[str]:
        """Put jobs whose lease ended back in line, or fail them after the last attempt; their ids."""
        now = self._steady()
        expired = [job for job in self._book.running if (job.lease_expires_at or 0) <= now]
        for job in expired:
            error = TOO_MANY_ATTEMPTS.format(attempts=job.counted_attempts)
            self._moves.attempt_failed(job, "lost", error, retryable=True)
        return [job.job_id for job in expired]

    def demand(self) -> dict[str, dict[str, float]]:
        """Work by stage: submitted since this tracker started, withdrawn of that, waiting, running."""
        return demand(self._arrivals, self._line.work, self._book.running)

    def load(self) -> Load:
        """What waits, runs and is stored."""
        oldest = min((job.ages_from for job in self._book.queued), default=None)
        return Load(
            waiting=len(self._line),
            oldest_seconds=0.0 if oldest is None else max(0.0, self._cautious_now() - oldest),
            running=len(self._book.running),
            stored_bytes=self.ended.stored_bytes,
        )

    def stats(self) -> TrackerStats:
        """Counts and mean speeds."""
        return TrackerStats(
            jobs={state.value: self._book.counts[state] for state in JobState},
            queue_limit=self._settings.queue_limit,
            avg_job_seconds=self._speeds.average_job_seconds,
            mode=self.mode,
            stage_seconds=self._speeds.average_stage_seconds(),
        )

    # How records change

    def _restore(self, store: JobStore) -> None:
        for job in reversed(store.page(None, JobState.SUCCEEDED, sys.maxsize, HISTORY_JOBS)):
            self._fair.restore(job)
            self._forecast.learned(job, self._settings.timeout_seconds)
        for job in sorted(store.open_jobs(), key=lambda job: job.place.sequence):
            self._fair.restore(job)
            self._admission.restored(job)
            if job.state is JobState.RUNNING:
                job = job.with_(lease_expires_at=self._steady() + self._settings.lease_seconds)
                self._forecast.resumed(job, self._steady())
            self._book.remember(job)
            if job.state is JobState.QUEUED:
                self._moves.enter(job)

    def _accepted(self, job: Job) -> Accepted:
        return Accepted(job.job_id, job.state, self._position(job))

    def _position(self, job: Job) -> int:
        return self._line.position(job.place) if job.state is JobState.QUEUED else 0

    def _leased_job(self, job_id: str, token: str) -> Job | None:
        job = self._book.open(job_id)
        if job is None or job.state is not JobState.RUNNING or job.lease_token != token:
            return None
        return job

    def _ended_by(self, job_id: str, token: str, state: JobState) -> bool:
        job = self._book.get(job_id)
        return job is not None and job.state is state and job.lease_token == token
