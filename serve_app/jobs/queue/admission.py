"""Limits on the queue, and on each client's jobs, submits and bytes in the storage."""

from collections import Counter
from collections.abc import Mapping

from configs.settings import JobSettings
from serve_app.jobs.errors import LimitError
from serve_app.jobs.forecast.forecast import Forecast
from serve_app.jobs.model import Job
from serve_app.jobs.queue.rate import SubmitRate

BYTES_RETRY_SECONDS = 3600.0
"""`Retry-After` of `client_bytes`: songs expire after hours or days, which is not known here."""

LEAST_BURST = 200
"""Lower bound of the default of `jobs.client_burst`."""


class Admission:
    """Counts each client's queued and running jobs, and its bytes in the storage."""

    def __init__(self, settings: JobSettings, stored_bytes: Mapping[str, int]) -> None:
        self._settings = settings
        self._jobs: Counter[str] = Counter()
        self._bytes = Counter(stored_bytes)
        self._burst = settings.client_burst or max(settings.client_jobs, LEAST_BURST)
        self._rate = SubmitRate(settings.client_rate, self._burst)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all clients together."""
        return self._bytes.total()

    def check(self, client: str, uploaded_bytes: int, waiting: int, forecast: Forecast, now: float) -> None:
        """Raise LimitError if a client may not submit a job now. `now` is a time of the steady clock."""
        limits = self._settings
        if waiting >= limits.queue_limit:
            raise LimitError("The queue is full", forecast.next_start(now), "queue_limit")
        if self._jobs[client] >= limits.client_jobs:
            message = f"You have {limits.client_jobs} jobs waiting or running, as many as one client may"
            raise LimitError(message, forecast.next_end(client, now), "client_jobs")
        if wait := self._rate.wait(client, now):
            message = f"You may submit {limits.client_rate:g} jobs a second, after {self._burst} at once"
            raise LimitError(message, wait, "client_rate")
        if self._bytes[client] + uploaded_bytes > limits.client_bytes:
            message = (
                f"Your songs and recordings take more than the {limits.client_bytes} bytes of one client"
            )
            raise LimitError(message, BYTES_RETRY_SECONDS, "client_bytes")

    def submitted(self, job: Job, now: float) -> None:
        """Count a new job. `now` is a time of the steady clock."""
        self._rate.take(job.client, now)
        self._jobs[job.client] += 1
        self._bytes[job.client] += job.uploaded_bytes

    def restored(self, job: Job) -> None:
        """Count an unsettled job of a store that a tracker opens; its bytes were given to `__init__`."""
        if not job.state.is_final:
            self._jobs[job.client] += 1

    def requeued(self, job: Job) -> None:
        """Count a failed job that is queued again."""
        self._jobs[job.client] += 1

    def ended(self, job: Job) -> None:
        """Count a job that has ended as neither queued nor running, and add the bytes of its songs."""
        self._jobs[job.client] -= 1
        self._bytes[job.client] += job.file_bytes
        self._forget(job.client)

    def withdrawn(self, job: Job) -> None:
        """Undo `submitted`, except for the rate."""
        self._jobs[job.client] -= 1
        self._bytes[job.client] -= job.uploaded_bytes
        self._forget(job.client)

    def freed(self, client: str, byte_count: int) -> None:
        """Subtract files of a client that have been deleted."""
        self._bytes[client] -= byte_count
        self._forget(client)

    def _forget(self, client: str) -> None:
        for counts in (self._jobs, self._bytes):
            if counts[client] <= 0:
                del counts[client]
