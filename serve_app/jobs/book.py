"""The newest records of jobs in memory.

A job is settled once it has ended and nothing is left to do for it: no files to tidy, no callback to deliver.
Records of unsettled jobs are always here, those of settled jobs in the store, with the recent ones here, too.
Nothing here reads the store: a caller that needs an older record reads it and gives it to `recall`.
"""

from collections import Counter
from collections.abc import Callable, Collection

from serve_app.jobs.errors import IdempotencyConflictError
from serve_app.jobs.model import Job, JobState, NewJob
from serve_app.jobs.recent import Recent, characters_of_record
from serve_app.jobs.storing.journal import Journal

IDEMPOTENCY_SECONDS = 24 * 3600.0
"""Minimum time for which an idempotency key stands for the job that it was first used for."""


class JobBook:
    """The newest records of jobs, and the number of jobs by state."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._queued: dict[str, Job] = {}
        self._running: dict[str, Job] = {}
        self._ended: dict[str, Job] = {}
        """Unsettled jobs that have ended."""
        self._recent = Recent(characters_of_record)
        """Settled jobs: polls of them need not read the store."""
        self.counts: Counter[JobState] = Counter(journal.store.counts())
        self.on_change: Callable[[str], object] = lambda _job_id: None
        """Is called with the id of each job whose record has changed or was deleted."""

    @property
    def queued(self) -> Collection[Job]:
        return self._queued.values()

    @property
    def running(self) -> Collection[Job]:
        return self._running.values()

    @property
    def ended(self) -> Collection[Job]:
        """Unsettled jobs that have ended."""
        return self._ended.values()

    def unsettled(self, job_id: str) -> Job | None:
        """Return a job with something left to do."""
        return self._queued.get(job_id) or self._running.get(job_id) or self._ended.get(job_id)

    def get(self, job_id: str) -> Job | None:
        """Return a job that is unsettled, or settled and in memory."""
        return self.unsettled(job_id) or self._recent.get(job_id)

    def recall(self, job: Job) -> None:
        """Keep the record of a settled job that was read from the store, unless a newer one is known."""
        if self.get(job.job_id) is None and self._journal.is_written(job.job_id):
            self._recent.remember(job.job_id, job)

    def newest(self, job: Job) -> Job | None:
        """Return the newest record of a job that the journal returned; None if it was deleted.

        The caller must not have waited since then, because deletions that are written are forgotten here.
        """
        if known := self.get(job.job_id):
            return known
        return job if self._journal.is_written(job.job_id) else self._journal.saved(job.job_id)

    def submitted_before(self, new: NewJob, stored: Job | None, now: float) -> Job | None:
        """Return the job that this submit repeats; `stored` is the store's record with its id or its key.

        Raises IdempotencyConflictError if the key was used for another request.
        """
        if earlier := self.get(new.job_id):
            return earlier
        job = stored and self.newest(stored)
        if job is None or job.purged:
            return None
        if job.job_id == new.job_id:
            return job
        if new.idempotency is None or not self.is_key_valid(job, now):
            return None
        if job.idempotency is None or job.idempotency.fingerprint != new.idempotency.fingerprint:
            raise IdempotencyConflictError
        return job

    @staticmethod
    def is_key_valid(job: Job, now: float) -> bool:
        """Tell whether a job has an idempotency key that has not expired, and was not purged."""
        is_known = job.idempotency is not None and not job.purged
        return is_known and now - job.ages_from <= IDEMPOTENCY_SECONDS

    def save(self, job: Job, settled: Job | None = None) -> Job:
        """Write a record. `settled` is the record before, if the job may have been settled."""
        before = self.unsettled(job.job_id) or settled
        if before is not None:
            self.counts[before.state] -= 1
        if before is not None or not job.is_settled:  # a settled job that only lost its files stays counted
            self.counts[job.state] += 1
        self._journal.save(job)
        self.remember(job)
        return job

    def remember(self, job: Job) -> None:
        """Make this the newest record without writing it, because a restarted tracker does not need it."""
        for jobs in (self._queued, self._running, self._ended):
            jobs.pop(job.job_id, None)
        self._recent.forget(job.job_id)
        if job.state is JobState.QUEUED:
            self._queued[job.job_id] = job
        elif job.state is JobState.RUNNING:
            self._running[job.job_id] = job
        elif not job.is_settled:
            self._ended[job.job_id] = job
        else:
            self._recent.remember(job.job_id, job)
        self.on_change(job.job_id)

    def delete(self, job: Job) -> None:
        """Delete a job's record."""
        self.counts[job.state] -= 1
        for jobs in (self._queued, self._running, self._ended):
            jobs.pop(job.job_id, None)
        self._recent.forget(job.job_id)
        self._journal.delete(job.job_id)
        self.on_change(job.job_id)
