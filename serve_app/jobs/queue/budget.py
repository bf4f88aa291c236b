"""How much music each client makes in a day, against the budget of its key."""

from collections import Counter
from collections.abc import Mapping

from serve_app.jobs.clocks import Clock
from serve_app.jobs.counting import audio_ms
from serve_app.jobs.model import Job
from serve_app.jobs.usage import Usage, UsageKey, day_of

DAYS_KNOWN = 4
"""Days of which the amounts are remembered, so that a clock that is set for a moment costs nothing."""


class Budgets:
    """Milliseconds of music by client: of songs that ended today (UTC), and of jobs that wait or run."""

    def __init__(self, wall: Clock, used: Mapping[UsageKey, Usage]) -> None:
        """`used` is the usage of today."""
        self._wall = wall
        self._ended: dict[str, Counter[str]] = {day_of(wall()): Counter()}
        """By day and client."""
        for (day, client), usage in used.items():
            self._of_day(day)[client] += usage.audio_ms
        self._open: dict[str, tuple[str, int]] = {}
        """Client and amount of each job that waits or runs."""
        self._reserved: Counter[str] = Counter()

    def taken_ms(self, client: str) -> int:
        """Return what counts against a client's budget today."""
        return self._of_day(day_of(self._wall()))[client] + self._reserved[client]

    def reserve(self, job: Job) -> None:
        """Count a job that waits or runs; again where its length has become known."""
        self._release(job.job_id)
        self._open[job.job_id] = job.client, audio_ms(job)
        self._reserved[job.client] += audio_ms(job)

    def ended(self, job: Job) -> None:
        """Count a job as ended, or as never submitted where it has no share in the usage."""
        self._release(job.job_id)
        if job.counted is not None and job.counted.usage.audio_ms:
            self._of_day(job.counted.day)[job.client] += job.counted.usage.audio_ms

    def _release(self, job_id: str) -> None:
        client, amount = self._open.pop(job_id, ("", 0))
        self._reserved[client] -= amount
        if self._reserved[client] <= 0:
            del self._reserved[client]

    def _of_day(self, day: str) -> Counter[str]:
        if day not in self._ended:
            self._ended[day] = Counter()
            while len(self._ended) > DAYS_KNOWN:
                del self._ended[min(self._ended)]
        return self._ended.get(day, Counter())
