"""The work left for jobs that have ended: their files, their records and their callbacks."""

from collections import Counter
from collections.abc import Iterable

from configs.settings import WebhookSettings
from serve_app.jobs.book import JobBook
from serve_app.jobs.clocks import Clock, Deadlines
from serve_app.jobs.model import Callback, Job
from serve_app.jobs.queue.admission import Admission

TRIM_AFTER = 100
"""Number of a client's cancellations after which its cancelled jobs are trimmed."""
LONGEST_CALLBACK_PAUSE = 3600.0
"""Maximum seconds between two tries."""


def callback_pause(settings: WebhookSettings, attempts: int) -> float:
    """Return the seconds between the last of so many failed tries of a callback and the next one."""
    return min(settings.first_retry_seconds * 2.0 ** (attempts - 1), LONGEST_CALLBACK_PAUSE)


class EndedJobs:
    """The part of the tracker that `janitor` and `webhooks` use."""

    def __init__(
        self,
        book: JobBook,
        admission: Admission,
        wall: Clock,
        steady: Clock,
        lease_seconds: float,
        webhooks: WebhookSettings,
    ) -> None:
        self._lease_seconds = lease_seconds
        self._webhooks = webhooks
        self._book = book
        self._admission = admission
        self._cancelled: Counter[str] = Counter()
        """Number of cancelled jobs by client since `to_trim` last returned that client."""
        self._tidying = Deadlines(wall, steady)
        self._calling = Deadlines(wall, steady)

    def cancelled(self, job: Job) -> None:
        """Count a cancelled job."""
        self._cancelled[job.client] += 1

    def to_trim(self) -> list[str]:
        """Return the clients with many cancellations since they were last returned."""
        found = [client for client, count in self._cancelled.items() if count >= TRIM_AFTER]
        for client in found:
            del self._cancelled[client]
        return found

    def schedule(self, job: Job) -> None:
        """Compute when the files of a job that has just ended may be tidied, and when its callback is due."""
        if job.tidy_at is not None:
            self._tidying.see(job.job_id, job.tidy_at, self._lease_seconds)
        if job.callback is not None:
            self._calling.see(job.job_id, job.callback.due_at, self._pause(job.callback))

    def untidy(self) -> list[Job]:
        """Return ended jobs whose folder in the storage may be tidied now."""
        return [
            job
            for job in self._book.ended
            if job.tidy_at is not None and self._tidying.is_due(job.job_id, job.tidy_at, self._lease_seconds)
        ]

    def tidied(self, before: Job) -> None:
        """Note that the storage holds nothing of a job except its `files`, which a purged one has not.

        `before` is its record from when the deletion began. If the job was purged since then, its songs are
        still there, and it stays untidy.
        """
        job = self._book.unsettled(before.job_id)
        if job is not None and job.tidy_at is not None and job.purged is before.purged:
            self._tidying.forget(job.job_id)
            songs = 0 if job.purged else job.file_bytes
            self._admission.freed(job.client, job.stored_bytes - songs)
            self._book.save(job.with_(tidy_at=None, uploaded_bytes=0, file_bytes=songs))

    def files_expired(self, jobs: Iterable[Job]) -> None:
        """Note that the files of these jobs have been deleted."""
        for job in filter(None, map(self._book.newest, jobs)):
            if job.is_settled:
                self._admission.freed(job.client, job.file_bytes)
                self._book.save(job.with_(files=(), file_bytes=0))

    def records_expired(self, jobs: Iterable[Job]) -> None:
        """Delete the records of these jobs, whose files are gone, unless a job was requeued meanwhile."""
        for job in filter(None, map(self._book.newest, jobs)):
            if job.is_deletable:
                self._forget(job)

    def withdrawn(self, job: Job) -> None:
        """Delete the record of a job that ended before it was durable, and whose submit failed."""
        self._tidying.forget(job.job_id)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        self._calling.forget(job.job_id)
        self._calling.forget(f"batch of {job.job_id}")
        self._admission.freed(job.client, job.stored_bytes)
        self._book.delete(job)

    def purged(self) -> list[Job]:
        """Return purged jobs of which only the record is left, and about which nobody has to be told."""
        return [
            job
            for job in self._book.ended
            if job.purged and job.tidy_at is None and not (job.callback or job.batch_callback)
        ]

    def callbacks_due(self) -> list[Job]:
        """Return ended jobs whose callback should be delivered now."""
        return [
            job
            for job in self._book.ended
            if job.callback is not None and self._is_due(job.job_id, job.callback)
        ]

    def _is_due(self, name: str, callback: Callback) -> bool:
        """Tell whether a callback is due; the first try is, even if the wall clock was set back meanwhile."""
        pause = self._pause(callback)
        return callback.attempts == 0 or self._calling.is_due(name, callback.due_at, pause)

    def _pause(self, callback: Callback) -> float:
        return callback_pause(self._webhooks, callback.attempts)

    def called_back(self, before: Job, again: Callback | None) -> None:
        """Note the next try of a callback; None: it was delivered or given up.

        `before` is the record that was told of. If the job has had another end since then, because it was
        requeued, that end is still to be told.
        """
        job = self._book.unsettled(before.job_id)
        if job is not None and job.callback is not None and job.finished_at == before.finished_at:
            self._calling.forget(job.job_id)
            self.schedule(self._book.save(job.with_(callback=again)))

    def batch_callbacks_due(self) -> list[Job]:
        """Return the jobs that ended last in a batch about which somebody is to be told now."""
        return [
            job
            for job in self._book.ended
            if job.batch_callback is not None and self._is_due(f"batch of {job.job_id}", job.batch_callback)
        ]

    def batch_called_back(self, before: Job, again: Callback | None) -> None:
        """Note the next try of the callback of a batch, as `called_back` does."""
        job = self._book.unsettled(before.job_id)
        if job is not None and job.batch_callback is not None and job.finished_at == before.finished_at:
            self._calling.forget(f"batch of {job.job_id}")
            self._book.save(job.with_(batch_callback=again))

    @property
    def stored_bytes(self) -> int:
        """Bytes that all jobs together take in the audio storage."""
        return self._admission.stored_bytes
