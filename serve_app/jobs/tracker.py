"""The line of jobs: who waits, who runs, who may finish what.

A plain class with clock and journal injected; `serve_app.jobs.actor` puts it behind a Ray actor.
A job is leased to a runner: whoever holds the token may report and finish, until the lease ends. An expired
job goes back to its original place in the line, so whatever dies costs a retry and never a job. Methods that
a caller may repeat, because the answer to the first call was lost, give the same answer again.
"""

import sys
from collections.abc import Callable
from typing import Any

from configs.settings import JobSettings
from serve_app.jobs.admission import Admission
from serve_app.jobs.book import JobBook
from serve_app.jobs.demand import demand
from serve_app.jobs.ended import EndedJobs
from serve_app.jobs.errors import JobEndedError
from serve_app.jobs.eta import HISTORY_JOBS, SpeedHistory
from serve_app.jobs.fairness import FairClock
from serve_app.jobs.forecast import Forecast, work_left
from serve_app.jobs.journal import Journal
from serve_app.jobs.line import Waiting, WaitingLine
from serve_app.jobs.model import (
    Accepted,
    Callback,
    Checkpoint,
    Claim,
    Job,
    JobState,
    JobView,
    NewJob,
    TrackerStats,
)
from serve_app.jobs.store import JobStore
from serve_app.jobs.work import Work

TOO_MANY_ATTEMPTS = "The server lost the process that ran this job, {attempts} times in a row."


class JobTracker:
    """Order, positions, leases and history of all jobs."""

    def __init__(self, settings: JobSettings, journal: Journal, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._book = JobBook(journal)
        self._speeds = SpeedHistory(settings.initial_job_seconds)
        self._line = WaitingLine()
        self._forecast = Forecast(self._speeds, self._line)
        self._fair = FairClock()
        self._submitted = Work()
        self._next_sequence = journal.store.next_sequence()
        self._admission = Admission(settings, journal.store.stored_bytes())
        self.ended = EndedJobs(self._book, self._admission, clock)
        self._restore(journal.store)

    # What clients ask

    def submit(self, new: NewJob) -> Accepted:
        """Put a job in line. Raises LimitError or IdempotencyConflictError."""
        now = self._clock()
        if earlier := self._book.submitted_before(new, now):
            return self._accepted(earlier)
        self._admission.check(new, len(self._line), self._forecast, now)
        last = self._line.last_of(new.client.name, -new.priority)
        place = self._fair.place(new.client, new.priority, new.work, last, self._next_sequence)
        self._next_sequence += 1
        job = Job.queued(new, place, created_at=now)
        self._admission.entered(job)
        self._submitted += new.work
        self._enter_line(self._book.save(job))
        return self._accepted(job)

    def view(self, job_id: str) -> JobView | None:
        """A job and its place among the others; None where the id is unknown."""
        job = self._book.get(job_id)
        return None if job is None else self.view_of(job)

    def view_of(self, job: Job) -> JobView:
        """A record as a poll sees it."""
        eta = self._forecast.until_result(job, self._clock())
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
        silent_from = job.lease_expires_at if job.state is JobState.RUNNING else None
        return self.view_of(self._end(job, JobState.CANCELLED, tidy_at=silent_from or self._clock()))

    # What runners do

    def claim(self, token: str) -> Claim | None:
        """Lease the first waiting job under the runner's new token; None where nothing waits."""
        for job in self._book.running:
            if job.lease_token == token:
                return Claim(job, token)
        waiting = self._book.open(self._line.first() or "")
        if waiting is None:
            return None
        now = self._clock()
        claimed = self._book.save(waiting.leased(token, now, now + self._settings.lease_seconds))
        self._line.remove(claimed.place)
        self._fair.claimed(claimed.client, claimed.place)
        self._forecast.claimed(claimed, now, now)
        return Claim(claimed, token)

    def heartbeat(self, job_id: str, token: str, stage: str, progress: float) -> bool:
        """Renew a lease and note how far the job is; False where the lease is lost and the work must stop.

        Kept in memory only: a restarted tracker gives every runner a fresh lease.
        """
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        now = self._clock()
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
        now = self._clock()
        self._forecast.finished(job, now, result.get("timings", {}))
        published = {"result": result, "files": files, "file_bytes": file_bytes}
        self._end(job, JobState.SUCCEEDED, stage="done", progress=1.0, tidy_at=now, **published)
        return True

    def fail(self, job_id: str, token: str, error: str, retryable: bool) -> bool:
        """End a leased job with one sentence for the user, or put it back in line while attempts are left.

        False where the lease is lost; so it is after a first call that put the job back.
        """
        job = self._leased_job(job_id, token)
        if job is None:
            return self._ended_by(job_id, token, JobState.FAILED)
        if retryable and job.attempt < self._settings.max_attempts:
            self._requeue(job)
        else:
            self._end(job, JobState.FAILED, error=error, tidy_at=self._clock())
        return True

    def release(self, job_id: str, token: str) -> bool:
        """Give an unfinished job back (a replica shuts down); the attempt does not count."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        first = job.attempt == 1
        self._requeue(job.with_(attempt=job.attempt - 1, started_at=None if first else job.started_at))
        return True

    def left(self, job_id: str) -> None:
        """The runner of a cancelled job has stopped: nothing is written any more."""
        job = self._book.open(job_id)
        if job is not None and job.state is JobState.CANCELLED and job.tidy_at is not None:
            self._book.save(job.with_(tidy_at=min(job.tidy_at, self._clock())))

    def holds_lease(self, job_id: str, token: str) -> bool:
        """Whether a runner may still work on a job."""
        return self._leased_job(job_id, token) is not None

    # What time does

    def requeue_expired(self) -> list[str]:
        """Put jobs whose lease ended back in line, or fail them after the last attempt; their ids."""
        now = self._clock()
        expired = [job for job in self._book.running if (job.lease_expires_at or 0) <= now]
        for job in expired:
            if job.attempt < self._settings.max_attempts:
                self._requeue(job)
            else:
                self._end(
                    job, JobState.FAILED, error=TOO_MANY_ATTEMPTS.format(attempts=job.attempt), tidy_at=now
                )
        return [job.job_id for job in expired]

    def demand(self) -> dict[str, dict[str, float]]:
        """Work by stage: submitted since this tracker started, waiting, running."""
        return demand(self._submitted, self._line.work, self._book.running)

    def stats(self) -> TrackerStats:
        """Counts and mean speeds."""
        return TrackerStats(
            jobs={state.value: self._book.counts[state] for state in JobState},
            queue_limit=self._settings.queue_limit,
            avg_job_seconds=self._speeds.average_job_seconds,
            stage_seconds=self._speeds.average_stage_seconds(),
        )

    # How records change

    def _restore(self, store: JobStore) -> None:
        now = self._clock()
        for job in reversed(store.page(None, JobState.SUCCEEDED, sys.maxsize, HISTORY_JOBS)):
            self._fair.restore(job)
            self._forecast.learned(job)
        for job in sorted(store.open_jobs(), key=lambda job: job.place.sequence):
            self._fair.restore(job)
            self._admission.restored(job)
            if job.state is JobState.RUNNING:
                job = job.with_(lease_expires_at=now + self._settings.lease_seconds)
                self._forecast.claimed(job, job.started_at or now, now)
            self._book.remember(job)
            if job.state is JobState.QUEUED:
                self._enter_line(job)

    def _enter_line(self, job: Job) -> None:
        self._line.add(job.place, Waiting(job.job_id, job.client, work_left(job)))

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

    def _requeue(self, job: Job) -> None:
        self._forecast.stopped(job, self._clock())
        self._enter_line(self._book.save(job.waiting_again()))

    def _end(self, job: Job, state: JobState, **changes: Any) -> Job:
        now = self._clock()
        if job.state is JobState.QUEUED:
            self._line.remove(job.place)
        else:
            self._forecast.stopped(job, now)
        callback = Callback(due_at=now) if job.spec.request.callback_url else None
        changes |= {
            "finished_at": now,
            "lease_expires_at": None,
            "checkpoint": Checkpoint(),
            "callback": callback,
        }
        ended = self._book.save(job.with_(state=state, **changes))
        self._admission.left(ended)
        return ended
