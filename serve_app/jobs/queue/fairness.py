"""The order of the queue: start-time fair queueing between clients, among jobs of one priority.

P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queuing", SIGCOMM 1996: a job starts, in virtual time, when
the client's previous one ends or, if that is past, now. Virtual time is the start of the job claimed last. A
client's jobs wait for each other, and delay another client's first job by hardly more than one job.
"""

from collections import defaultdict

from serve_app.jobs.model import Client, Job, Place
from serve_app.request.work import Work

_FORGET_ABOVE = 1000
"""Number of clients above which idle ones are forgotten; most are addresses that never come back."""


class FairClock:
    """Virtual time, and the time up to which each client has used its share; each priority has its own."""

    def __init__(self) -> None:
        self._now: defaultdict[int, float] = defaultdict(float)
        self._finish: dict[tuple[int, str], float] = {}
        """Virtual end of the last claimed job, by rank and client."""
        self._forget_at = _FORGET_ABOVE

    def place(self, client: Client, priority: int, work: Work, last: Place | None, sequence: int) -> Place:
        """Return the place of a client's new job; `last` is that of its last queued job of this priority."""
        rank = -priority
        start = self._start(rank, client.name, last)
        return Place(rank, start, sequence, start + cost(work) / client.weight)

    def place_of_requeued(self, job: Job, last: Place | None) -> Place:
        """Return the place of a failed job that is requeued: its old one, or a new job's start if earlier.

        Virtual time restarts at 0 if the store has no earlier jobs; an old place would be far behind then.
        """
        old = job.place
        start = min(old.start, self._start(old.rank, job.client, last))
        return old._replace(start=start, finish=start + old.finish - old.start)

    def _start(self, rank: int, client: str, last: Place | None) -> float:
        return max(self._now[rank], self._finish.get((rank, client), 0.0), last.finish if last else 0.0)

    def claimed(self, client: str, place: Place) -> None:
        """Advance virtual time to the start of a claimed job."""
        self._now[place.rank] = max(self._now[place.rank], place.start)
        key = place.rank, client
        self._finish[key] = max(self._finish.get(key, 0.0), place.finish)
        if len(self._finish) > self._forget_at:
            kept = {key: finish for key, finish in self._finish.items() if finish > self._now[key[0]]}
            self._finish = kept
            self._forget_at = max(_FORGET_ABOVE, 2 * len(kept))

    def restore(self, job: Job) -> None:
        """Account for a job that was claimed before a restart."""
        if job.started_at is not None:
            self.claimed(job.client, job.place)


def cost(work: Work) -> float:
    """Return what a job uses of its client's share: seconds of music, at least 1."""
    return max(1.0, work.audio_seconds)
