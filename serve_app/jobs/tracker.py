"""The line of jobs: who waits, who runs, who may finish what.

A plain class with the clock and the store injected; `serve_app.jobs.actor` puts it behind a Ray actor.
A job is leased to a runner: whoever holds the token may report and finish, until the lease ends. An expired
job goes back to its original place in the line, so whatever dies costs a retry and never a job.
"""

import bisect
import math
import uuid
from collections.abc import Callable
from typing import Any

from configs.settings import JobSettings
from serve_app.jobs.eta import SpeedHistory
from serve_app.jobs.model import Claim, Job, JobSpec, JobState, JobView, TrackerStats
from serve_app.jobs.store import JobStore

TOO_MANY_ATTEMPTS = "The server lost the process that ran this job, {attempts} times in a row."


class QueueFullError(Exception):
    """The line is as long as it may get. `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class JobTracker:
    """Order, positions, leases and history of all jobs."""

    def __init__(self, settings: JobSettings, store: JobStore, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._history = SpeedHistory(settings.initial_job_seconds)
        self._line: list[tuple[int, str]] = []
        self._leased: set[str] = set()
        self._counts = dict.fromkeys(JobState, 0)
        self._next_sequence = 0
        for job in store.jobs():
            self._next_sequence = max(self._next_sequence, job.sequence + 1)
            self._counts[job.state] += 1
            if job.state is JobState.QUEUED:
                bisect.insort(self._line, (job.sequence, job.job_id))
            elif job.state is JobState.RUNNING:
                self._leased.add(job.job_id)

    def submit(self, job_id: str, spec: JobSpec) -> int:
        """Append a job to the line; its 1-based position. Raises QueueFullError."""
        if len(self._line) >= self._settings.queue_limit:
            raise QueueFullError(retry_after=math.ceil(self._history.average_job_seconds))
        job = Job(job_id=job_id, spec=spec, sequence=self._next_sequence, created_at=self._clock())
        self._next_sequence += 1
        self._store.save(job)
        self._counts[JobState.QUEUED] += 1
        self._line.append((job.sequence, job_id))
        return len(self._line)

    def claim(self) -> Claim | None:
        """Lease the first waiting job; None where nothing waits."""
        self.requeue_expired()
        if not self._line:
            return None
        _, job_id = self._line.pop(0)
        job = self._get(job_id)
        now = self._clock()
        token = uuid.uuid4().hex
        claimed = self._move(
            job,
            JobState.RUNNING,
            stage="planning",
            started_at=job.started_at or now,
            attempt=job.attempt + 1,
            lease_token=token,
            lease_expires_at=now + self._settings.lease_seconds,
        )
        self._leased.add(job_id)
        return Claim(claimed, token)

    def heartbeat(self, job_id: str, token: str, stage: str, progress: float) -> bool:
        """Renew a lease and note how far the job is; False where the lease is lost and the work must stop."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        expires_at = self._clock() + self._settings.lease_seconds
        self._store.save(job.with_(stage=stage, progress=progress, lease_expires_at=expires_at))
        return True

    def finish(self, job_id: str, token: str, result: dict[str, Any], files: tuple[str, ...]) -> bool:
        """Publish the result of a leased job; False where the lease is lost and nothing was published."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        now = self._clock()
        self._end(job, JobState.SUCCEEDED, stage="done", progress=1.0, result=result, files=files)
        self._history.add(now - (job.started_at or now), result.get("timings", {}))
        return True

    def fail(self, job_id: str, token: str, error: str, retryable: bool) -> bool:
        """End a leased job with one sentence for the user, or put it back in line while attempts are left."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        if retryable and job.attempt < self._settings.max_attempts:
            self._requeue(job)
        else:
            self._end(job, JobState.FAILED, error=error)
        return True

    def release(self, job_id: str, token: str) -> bool:
        """Give an unfinished job back (a replica shuts down); the attempt does not count."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        self._requeue(job.with_(attempt=job.attempt - 1))
        return True

    def requeue_expired(self) -> list[str]:
        """Put jobs whose lease ended back in line, or fail them after the last attempt; their ids."""
        now = self._clock()
        expired = [job for job in map(self._get, self._leased) if (job.lease_expires_at or 0.0) <= now]
        for job in expired:
            if job.attempt < self._settings.max_attempts:
                self._requeue(job)
            else:
                self._end(job, JobState.FAILED, error=TOO_MANY_ATTEMPTS.format(attempts=job.attempt))
        return [job.job_id for job in expired]

    def view(self, job_id: str) -> JobView | None:
        """A job and its place among the others; None where the id is unknown."""
        job = self._store.get(job_id)
        if job is None:
            return None
        position, eta = 0, None
        if job.state is JobState.QUEUED:
            position = bisect.bisect_left(self._line, (job.sequence, job.job_id)) + 1
            eta = self._history.seconds_until_result(position, None)
        elif job.state is JobState.RUNNING:
            running = self._clock() - (job.started_at or self._clock())
            eta = self._history.seconds_until_result(0, running)
        return JobView(job, position, eta, self._history.average_job_seconds)

    def stats(self) -> TrackerStats:
        """Counts and mean speeds."""
        return TrackerStats(
            jobs={state.value: count for state, count in self._counts.items()},
            queue_limit=self._settings.queue_limit,
            avg_job_seconds=self._history.average_job_seconds,
            stage_seconds=self._history.average_stage_seconds(),
        )

    def _get(self, job_id: str) -> Job:
        job = self._store.get(job_id)
        if job is None:
            raise KeyError(f"job {job_id} is in line but not in the store")
        return job

    def _leased_job(self, job_id: str, token: str) -> Job | None:
        job = self._store.get(job_id)
        if job is None or job.state is not JobState.RUNNING or job.lease_token != token:
            return None
        return job

    def _move(self, job: Job, state: JobState, **changes: Any) -> Job:
        moved = job.with_(state=state, **changes)
        self._store.save(moved)
        self._counts[job.state] -= 1
        self._counts[state] += 1
        return moved

    def _requeue(self, job: Job) -> None:
        self._leased.discard(job.job_id)
        self._move(
            job, JobState.QUEUED, stage="queued", progress=0.0, lease_token=None, lease_expires_at=None
        )
        bisect.insort(self._line, (job.sequence, job.job_id))

    def _end(self, job: Job, state: JobState, **changes: Any) -> None:
        self._leased.discard(job.job_id)
        self._move(job, state, finished_at=self._clock(), lease_token=None, lease_expires_at=None, **changes)
