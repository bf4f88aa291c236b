"""Whose turn it is: start-time fair queueing between clients, among jobs of one priority.

P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queuing", SIGCOMM 1996: a job starts, in virtual time, when
the client's last one ends or, for a client who was away, now. Virtual time is the start of the job claimed
last. A client with many jobs waits for itself, and delays another's first job by hardly more than one job.
"""

from collections import defaultdict

from serve_app.jobs.model import Client, Job, Place
from serve_app.request.work import Work

_FORGET_ABOVE = 1000
"""Clients; most of them are addresses that nobody will see again."""


class FairClock:
    """Virtual time, and how much of it each client has had; each priority has its own."""

    def __init__(self) -> None:
        self._now: defaultdict[int, float] = defaultdict(float)
        self._finish: dict[tuple[int, str], float] = {}
        """Virtual end of the last claimed job, by rank and client."""
        self._forget_at = _FORGET_ABOVE

    def place(self, client: Client, priority: int, work: Work, last: Place | None, sequence: int) -> Place:
        """The place of a client's new job behind `last`, where its last job of this priority waits."""
        rank = -priority
        start = self._start(rank, client.name, last)
        return Place(rank, start, sequence, start + cost(work) / client.weight)

    def place_again(self, job: Job, last: Place | None) -> Place:
        """Of a job that ended and comes back: its old place, or a new job's start where that is sooner.

        Virtual time begins anew where nothing of the past is stored; an old place would be far behind then.
        """
        old = job.place
        start = min(old.start, self._start(old.rank, job.client, last))
        return old._replace(start=start, finish=start + old.finish - old.start)

    def _start(self, rank: int, client: str, last: Place | None) -> float:
        return max(self._now[rank], self._finish.get((rank, client), 0.0), last.finish if last else 0.0)

    def claimed(self, client: str, place: Place) -> None:
        """The job with this place has begun to run."""
        self._now[place.rank] = max(self._now[place.rank], place.start)
        key = place.rank, client
        self._finish[key] = max(self._finish.get(key, 0.0), place.finish)
        if len(self._finish) > self._forget_at:
            kept = {key: finish for key, finish in self._finish.items() if finish > self._now[key[0]]}
            self._finish = kept
            self._forget_at = max(_FORGET_ABOVE, 2 * len(kept))

    def restore(self, job: Job) -> None:
        """Take a job from before a restart into account."""
        if job.started_at is not None:
            self.claimed(job.client, job.place)


def cost(work: Work) -> float:
    """What a job takes of its client's share: seconds of music, one at least."""
    return max(1.0, work.audio_seconds)
