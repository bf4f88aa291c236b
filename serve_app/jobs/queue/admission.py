"""Limits on the queue, and on each client's jobs, submits and bytes in the storage."""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from configs.settings import JobSettings
from serve_app.jobs.clocks import Clock
from serve_app.jobs.errors import LimitError
from serve_app.jobs.forecast.forecast import Forecast
from serve_app.jobs.model import Client, Job, Quota
from serve_app.jobs.queue.budget import Budgets
from serve_app.jobs.queue.rate import SubmitRate
from serve_app.jobs.usage import DAY_SECONDS, ClientUsage, Usage, UsageKey, next_day

BYTES_RETRY_SECONDS = 3600.0
"""`Retry-After` of `client_bytes`: songs expire after hours or days, which is not known here."""

AUDIO_UNIT = "acestep-audio-seconds"
"""The unit of a budget. The registry of units has none for it, so it has a prefix of its own."""

LEAST_BURST = 200
"""Lower bound of the default of `jobs.client_burst`."""


class Admission:
    """Counts each client's queued and running jobs, and its bytes in the storage."""

    def __init__(
        self,
        settings: JobSettings,
        stored_bytes: Mapping[str, int],
        wall: Clock,
        used_today: Mapping[UsageKey, Usage],
    ) -> None:
        self._settings = settings
        self._wall = wall
        self._budgets = Budgets(wall, used_today)
        self._jobs: Counter[str] = Counter()
        self._bytes = Counter(stored_bytes)
        self._burst = settings.client_burst or max(settings.client_jobs, LEAST_BURST)
        self._rate = SubmitRate(settings.client_rate, self._burst)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all clients together."""
        return self._bytes.total()

    def check(
        self,
        client: str,
        uploaded_bytes: int,
        waiting: int,
        forecast: Forecast,
        now: float,
        count: int = 1,
    ) -> None:
        """Raise LimitError if a client may not submit so many jobs now. `now` is a time of the steady clock.

        Against the rate they may begin like one job, and then count as what they are.
        """
        limits = self._settings
        if waiting + count > limits.queue_limit:
            room = limits.queue_limit - waiting
            message = f"The queue has room for {room} more jobs" if room > 0 else "The queue is full"
            raise LimitError(message, forecast.next_start(now), "queue_limit")
        if self._jobs[client] + count > limits.client_jobs and count > 1:
            message = f"You have {self._jobs[client]} jobs waiting or running, of {limits.client_jobs}"
            raise LimitError(message, forecast.next_end(client, now), "client_jobs")
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

    def check_budget(self, client: Client, wanted: float) -> None:
        """Raise LimitError if so many seconds would exceed the music that a client may make today."""
        budget = client.audio_seconds_per_day
        if budget is None or self._budgets.taken_ms(client.name) + round(1000 * wanted) <= 1000 * budget:
            return
        renewed_at = next_day(self._wall())
        until = datetime.fromtimestamp(renewed_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        if wanted > budget:
            message = f"This is more than the {budget:g} s of music that you may make in a day"
        else:
            message = f"Your {budget:g} s of music of this day are used up, and are renewed at {until}"
        raise LimitError(message, renewed_at - self._wall(), "client_budget")

    def quotas(self, client: Client, now: float) -> tuple[Quota, ...]:
        """Return what a client has left. `now` is a time of the steady clock."""
        left, whole_in = self._rate.left(client.name, now)
        window = math.ceil(self._burst / self._settings.client_rate)
        found = (Quota("submits", self._burst, window, left, math.ceil(whole_in)),)
        budget = client.audio_seconds_per_day
        if budget is None:
            return found
        unused = max(0, math.floor(budget - self._budgets.taken_ms(client.name) / 1000))
        renewed_in = math.ceil(next_day(self._wall()) - self._wall())
        music = Quota("audio", math.floor(budget), round(DAY_SECONDS), unused, renewed_in, AUDIO_UNIT)
        return (*found, music)

    def usage(self, client: str, days: dict[str, Usage]) -> ClientUsage:
        """Return a client's usage by day together with what counts against its budget."""
        return ClientUsage(days, self._budgets.taken_ms(client), next_day(self._wall()))

    def submitted(self, job: Job, now: float) -> None:
        """Count a new job. `now` is a time of the steady clock."""
        self._rate.take(job.client, now)
        self._jobs[job.client] += 1
        self._bytes[job.client] += job.uploaded_bytes
        self._budgets.reserve(job)

    def planned(self, job: Job) -> None:
        """Note the length of a job's songs, which its plan has decided."""
        self._budgets.reserve(job)

    def restored(self, job: Job) -> None:
        """Count an unsettled job of a store that a tracker opens; its bytes were given to `__init__`."""
        if not job.state.is_final:
            self._jobs[job.client] += 1
            self._budgets.reserve(job)

    def requeued(self, job: Job) -> None:
        """Count a failed job that is queued again."""
        self._jobs[job.client] += 1
        self._budgets.reserve(job)

    def ended(self, job: Job) -> None:
        """Count a job that has ended as neither queued nor running, and add the bytes of its songs."""
        self._jobs[job.client] -= 1
        self._bytes[job.client] += job.file_bytes
        self._budgets.ended(job)
        self._forget(job.client)

    def withdrawn(self, job: Job) -> None:
        """Undo `submitted`, except for the rate."""
        self._jobs[job.client] -= 1
        self._bytes[job.client] -= job.uploaded_bytes
        self._budgets.ended(job)
        self._forget(job.client)

    def freed(self, client: str, byte_count: int) -> None:
        """Subtract files of a client that have been deleted."""
        self._bytes[client] -= byte_count
        self._forget(client)

    def _forget(self, client: str) -> None:
        for counts in (self._jobs, self._bytes):
            if counts[client] <= 0:
                del counts[client]
