"""What is left to do for jobs that have ended: their files, their records, their callbacks."""

from collections import Counter
from collections.abc import Callable, Collection

from serve_app.jobs.admission import Admission
from serve_app.jobs.book import JobBook
from serve_app.jobs.model import Callback, Job

TRIM_AFTER = 100
"""Cancellations of one client after which it is seen whether it has too many cancelled jobs."""


class EndedJobs:
    """The tracker's part that `janitor` and `webhooks` work on."""

    def __init__(self, book: JobBook, admission: Admission, clock: Callable[[], float]) -> None:
        self._book = book
        self._admission = admission
        self._clock = clock
        self._cancelled: Counter[str] = Counter()
        """Jobs that each client has cancelled since that was seen to."""

    def cancelled(self, job: Job) -> None:
        """A job has been cancelled."""
        self._cancelled[job.client] += 1

    def to_trim(self) -> list[str]:
        """Clients that have cancelled much since they were named here last."""
        found = [client for client, count in self._cancelled.items() if count >= TRIM_AFTER]
        for client in found:
            del self._cancelled[client]
        return found

    def untidy(self) -> list[Job]:
        """Ended jobs whose folder in the storage holds more than it should."""
        now = self._clock()
        return [job for job in self._book.ended if job.tidy_at is not None and job.tidy_at <= now]

    def tidied(self, job_id: str) -> None:
        """The storage holds of this job no more than its `files`."""
        job = self._book.open(job_id)
        if job is not None and job.tidy_at is not None:
            self._admission.freed(job.client, job.uploaded_bytes)
            self._book.save(job.with_(tidy_at=None, uploaded_bytes=0))

    def files_expired(self, jobs: Collection[Job]) -> None:
        """The files of these closed jobs have been deleted."""
        for job in filter(None, [self._book.get(job.job_id) for job in jobs]):
            self._admission.freed(job.client, job.file_bytes)
            self._book.save(job.with_(files=(), file_bytes=0))

    def records_expired(self, jobs: Collection[Job]) -> None:
        """Forget these jobs, whose files have been deleted; not one that was put back in line meanwhile."""
        for job in filter(None, [self._book.get(job.job_id) for job in jobs]):
            if job.may_go:
                self._admission.freed(job.client, job.stored_bytes)
                self._book.delete(job)

    def callbacks_due(self) -> list[Job]:
        """Ended jobs whose end should be delivered now."""
        now = self._clock()
        return [job for job in self._book.ended if job.callback is not None and job.callback.due_at <= now]

    def called_back(self, job_id: str, again: Callback | None) -> None:
        """The delivery was made or given up (None), or is to be tried again."""
        job = self._book.open(job_id)
        if job is not None and job.callback is not None:
            self._book.save(job.with_(callback=again))

    @property
    def stored_bytes(self) -> int:
        """What all jobs take of the audio storage."""
        return self._admission.stored_bytes
