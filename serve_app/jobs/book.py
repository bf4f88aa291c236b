"""Every job's record: those with something left to do are kept here, the others in the store.

Nothing here reads the store. Who asks for a job that has been closed for long recalls it first.
"""

from collections import Counter
from collections.abc import Collection

from serve_app.jobs.errors import IdempotencyConflictError
from serve_app.jobs.model import Job, JobState, NewJob
from serve_app.jobs.recent import RecentJobs
from serve_app.jobs.storing.journal import Journal

IDEMPOTENCY_SECONDS = 24 * 3600.0
"""For so long, at least, an idempotency key gives the job that it was first used for."""


class JobBook:
    """The newest record of each job, and how many there are."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._queued: dict[str, Job] = {}
        self._running: dict[str, Job] = {}
        self._ended: dict[str, Job] = {}
        """Only those that are still open."""
        self._recent = RecentJobs()
        self.counts: Counter[JobState] = Counter(journal.store.counts())

    @property
    def queued(self) -> Collection[Job]:
        return self._queued.values()

    @property
    def running(self) -> Collection[Job]:
        return self._running.values()

    @property
    def ended(self) -> Collection[Job]:
        """Open jobs that have ended."""
        return self._ended.values()

    def open(self, job_id: str) -> Job | None:
        """A job with something left to do."""
        return self._queued.get(job_id) or self._running.get(job_id) or self._ended.get(job_id)

    def get(self, job_id: str) -> Job | None:
        """A job that is open, or is closed and remembered."""
        return self.open(job_id) or self._recent.get(job_id)

    def recall(self, job: Job) -> None:
        """Remember a closed job that was read from the store, unless there is a newer record of it here."""
        if self.get(job.job_id) is None and self._journal.is_written(job.job_id):
            self._recent.remember(job)

    def newest(self, job: Job) -> Job | None:
        """The newest record of a job that was read from the store a while ago; None where it is gone."""
        if known := self.get(job.job_id):
            return known
        return job if self._journal.is_written(job.job_id) else self._journal.saved(job.job_id)

    def submitted_before(self, new: NewJob, stored: Job | None, now: float) -> Job | None:
        """The job that this submit repeats; `stored` is what the store has under its id or key.

        Raises IdempotencyConflictError where it only has its key.
        """
        if earlier := self.get(new.job_id):
            return earlier
        job = stored and self.newest(stored)
        if job is None or job.job_id == new.job_id:
            return job
        if new.idempotency is None or not self.key_counts(job, now):
            return None
        if job.idempotency is None or job.idempotency.fingerprint != new.idempotency.fingerprint:
            raise IdempotencyConflictError
        return job

    @staticmethod
    def key_counts(job: Job, now: float) -> bool:
        """Whether the idempotency key of a job, if it has one, still stands for it."""
        return job.idempotency is not None and now - job.ages_from <= IDEMPOTENCY_SECONDS

    def save(self, job: Job) -> Job:
        """Write a record."""
        before = self.open(job.job_id)
        if before is not None:
            self.counts[before.state] -= 1
        if before is not None or job.is_open:  # else it was closed before, and counted
            self.counts[job.state] += 1
        self._journal.save(job)
        self.remember(job)
        return job

    def reopen(self, ended: Job, job: Job) -> Job:
        """Write the record of a job that goes on after its end."""
        if self.open(ended.job_id) is None:  # closed: `save` would take it for new
            self.counts[ended.state] -= 1
        return self.save(job)

    def remember(self, job: Job) -> None:
        """Take a record for the newest without writing it: a restart does not need it."""
        for jobs in (self._queued, self._running, self._ended):
            jobs.pop(job.job_id, None)
        self._recent.forget(job.job_id)
        if job.state is JobState.QUEUED:
            self._queued[job.job_id] = job
        elif job.state is JobState.RUNNING:
            self._running[job.job_id] = job
        elif job.is_open:
            self._ended[job.job_id] = job
        else:
            self._recent.remember(job)

    def delete(self, job: Job) -> None:
        """Forget a job."""
        self.counts[job.state] -= 1
        for jobs in (self._queued, self._running, self._ended):
            jobs.pop(job.job_id, None)
        self._recent.forget(job.job_id)
        self._journal.delete(job.job_id)
