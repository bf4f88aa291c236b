"""The queued jobs in order. Positions and sums of work are quick to compute, even in a long queue."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from serve_app.jobs.model import Place
from serve_app.request.work import RunningTotals, Work

_BLOCK = 128


@dataclass
class _Block:
    """Neighbours in the queue, and the sum of their work."""

    places: list[Place] = field(default_factory=list)
    work: Work = field(default_factory=Work)
    ahead: RunningTotals | None = None
    """Work ahead of each place within the block; None until it is needed after a change of the block."""


@dataclass(frozen=True)
class QueuedJob:
    """A job in the queue."""

    job_id: str
    client: str
    work: Work


class JobQueue:
    """Jobs sorted by place, in blocks with known sums: an answer looks into one block only."""

    def __init__(self) -> None:
        self._blocks = [_Block()]
        self._jobs: dict[Place, QueuedJob] = {}
        self._clients: dict[str, list[Place]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, place: Place) -> bool:
        return place in self._jobs

    @property
    def work(self) -> Work:
        """The work of all queued jobs."""
        return Work.total(block.work for block in self._blocks)

    def add(self, place: Place, waiting: QueuedJob) -> None:
        """Insert a job at its place."""
        index = self._block_of(place)
        self._jobs[place] = waiting
        bisect.insort(self._clients.setdefault(waiting.client, []), place)
        block = self._blocks[index]
        bisect.insort(block.places, place)
        block.work += waiting.work
        block.ahead = None
        if len(block.places) > 2 * _BLOCK:
            halves = block.places[:_BLOCK], block.places[_BLOCK:]
            self._blocks[index : index + 1] = [_Block(half, Work.total(self._works(half))) for half in halves]

    def remove(self, place: Place) -> None:
        """Remove a job. Raises KeyError if no job has this place."""
        waiting = self._jobs.pop(place)
        index = self._block_of(place)
        block = self._blocks[index]
        del block.places[bisect.bisect_left(block.places, place)]
        block.work = block.work - waiting.work if block.places else Work()
        block.ahead = None
        if not block.places and len(self._blocks) > 1:
            del self._blocks[index]
        places = self._clients[waiting.client]
        del places[bisect.bisect_left(places, place)]
        if not places:
            del self._clients[waiting.client]

    def __iter__(self) -> Iterator[QueuedJob]:
        """Yield the jobs in order."""
        return (self._jobs[place] for block in self._blocks for place in block.places)

    def first(self) -> str | None:
        """Return the id of the first job; None if the queue is empty."""
        return self._jobs[self._blocks[0].places[0]].job_id if self._jobs else None

    def first_of(self, client: str) -> tuple[Place, Work] | None:
        """Return the place and the work of a client's first job; None if it has none."""
        if client not in self._clients:
            return None
        place = self._clients[client][0]
        return place, self._jobs[place].work

    def last_of(self, client: str, rank: int) -> Place | None:
        """Return the place of a client's last job of one rank; None if it has none."""
        places = self._clients.get(client, [])
        index = bisect.bisect_left(places, rank + 1, key=lambda place: place.rank)
        return places[index - 1] if index and places[index - 1].rank == rank else None

    def position(self, place: Place) -> int:
        """Return the 1-based position of a place."""
        index = self._block_of(place)
        before = sum(len(block.places) for block in islice(self._blocks, index))
        return before + bisect.bisect_left(self._blocks[index].places, place) + 1

    def before(self, place: Place) -> Iterator[Work]:
        """Yield the work of each job ahead of a place, in order."""
        places = chain.from_iterable(block.places for block in self._blocks)
        for other in places:
            if other >= place:
                return
            yield self._jobs[other].work

    def work_before(self, place: Place) -> Work:
        """Return the sum of the work of all jobs ahead of a place."""
        index = self._block_of(place)
        block = self._blocks[index]
        if block.ahead is None:
            block.ahead = RunningTotals(self._works(block.places))
        ahead = block.ahead[bisect.bisect_left(block.places, place)]
        return Work.total([*(other.work for other in islice(self._blocks, index)), ahead])

    def _works(self, places: list[Place]) -> Iterator[Work]:
        return (self._jobs[place].work for place in places)

    def _block_of(self, place: Place) -> int:
        index = (
            bisect.bisect_right(self._blocks, place, key=lambda block: block.places[0]) if self._jobs else 0
        )
        return max(0, index - 1)
