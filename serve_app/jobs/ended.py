"""What is left to do for jobs that have ended: their files, their records, their callbacks."""

from collections import Counter
from collections.abc import Collection

from serve_app.jobs.book import JobBook
from serve_app.jobs.clocks import Clock, Deadlines
from serve_app.jobs.model import Callback, Job
from serve_app.jobs.queue.admission import Admission

TRIM_AFTER = 100
"""Cancellations of one client after which it is seen whether it has too many cancelled jobs."""
LONGEST_CALLBACK_PAUSE = 3600.0
"""Seconds between two tries, at most."""


class EndedJobs:
    """The tracker's part that `janitor` and `webhooks` work on."""

    def __init__(
        self, book: JobBook, admission: Admission, wall: Clock, steady: Clock, lease_seconds: float
    ) -> None:
        self._book = book
        self._admission = admission
        self._cancelled: Counter[str] = Counter()
        """Jobs that each client has cancelled since that was seen to."""
        self._tidying = Deadlines(wall, steady, lease_seconds)
        self._calling = Deadlines(wall, steady, LONGEST_CALLBACK_PAUSE)

    def cancelled(self, job: Job) -> None:
        """A job has been cancelled."""
        self._cancelled[job.client] += 1

    def to_trim(self) -> list[str]:
        """Clients that have cancelled much since they were named here last."""
        found = [client for client, count in self._cancelled.items() if count >= TRIM_AFTER]
        for client in found:
            del self._cancelled[client]
        return found

    def schedule(self, job: Job) -> None:
        """Note on the steady clock when a job that has just ended may be tidied and is to be told of."""
        if job.tidy_at is not None:
            self._tidying.see(job.job_id, job.tidy_at)
        if job.callback is not None:
            self._calling.see(job.job_id, job.callback.due_at)

    def untidy(self) -> list[Job]:
        """Ended jobs whose folder in the storage holds more than it should."""
        return [
            job
            for job in self._book.ended
            if job.tidy_at is not None and self._tidying.is_due(job.job_id, job.tidy_at)
        ]

    def tidied(self, job_id: str) -> None:
        """The storage holds of this job no more than its `files`."""
        job = self._book.open(job_id)
        if job is not None and job.tidy_at is not None:
            self._tidying.forget(job_id)
            self._admission.freed(job.client, job.uploaded_bytes)
            self._book.save(job.with_(tidy_at=None, uploaded_bytes=0))

    def files_expired(self, jobs: Collection[Job]) -> None:
        """The files of these closed jobs have been deleted."""
        for job in filter(None, map(self._book.newest, jobs)):
            self._admission.freed(job.client, job.file_bytes)
            self._book.save(job.with_(files=(), file_bytes=0))

    def records_expired(self, jobs: Collection[Job]) -> None:
        """Forget these jobs, whose files have been deleted; not one that was put back in line meanwhile."""
        for job in filter(None, map(self._book.newest, jobs)):
            if job.may_go:
                self._calling.forget(job.job_id)
                self._admission.freed(job.client, job.stored_bytes)
                self._book.delete(job)

    def callbacks_due(self) -> list[Job]:
        """Ended jobs whose end should be delivered now."""
        return [
            job
            for job in self._book.ended
            if job.callback is not None and self._calling.is_due(job.job_id, job.callback.due_at)
        ]

    def called_back(self, job_id: str, again: Callback | None) -> None:
        """The delivery was made or given up (None), or is to be tried again."""
        job = self._book.open(job_id)
        if job is not None and job.callback is not None:
            self._calling.forget(job_id)
            self.schedule(self._book.save(job.with_(callback=again)))

    @property
    def stored_bytes(self) -> int:
        """What all jobs take of the audio storage."""
        return self._admission.stored_bytes
