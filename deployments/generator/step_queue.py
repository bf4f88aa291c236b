"""The queue of songs that wait for their next step, ordered by deadline."""

import asyncio
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from deployments.common.messages import DenoiseRequest, Progress
from deployments.generator.adapters.mounting import Mount
from deployments.generator.engine import FinishedSong, GeneratorEngine, Song
from deployments.generator.tasks import NO_RECORDINGS, RecordingLatents

ItemUpdate = tuple[int, Progress | FinishedSong]
"""(item index, progress or finished song)"""


@dataclass(eq=False)
class DenoiseJob:
    """The songs of one job."""

    requests: Sequence[DenoiseRequest]
    recordings: RecordingLatents = NO_RECORDINGS
    mount: Mount | None = None
    """The adapters of its songs."""
    songs: list[Song] = field(default_factory=list)
    """The prepared songs, in the order of `requests`."""
    updates: asyncio.Queue[ItemUpdate | Exception] = field(default_factory=asyncio.Queue)

    @property
    def prepared(self) -> bool:
        return len(self.songs) == len(self.requests)

    def prepare_next(self, engine: GeneratorEngine) -> None:
        self.songs.append(engine.start(self.requests[len(self.songs)], self.recordings, self.mount))


@dataclass(eq=False)
class QueuedSong:
    """One song in the queue."""

    job: DenoiseJob
    item: int
    deadline: int
    """Position on the queue's clock, in tokens."""
    tokens: int
    """Tokens of its next step."""
    text_tokens: int = 0
    """Tokens of the texts that its next step attends to."""
    running: bool = False
    """Whether a forward is computing its step."""
    reported_at: float = -inf
    """Time of its last progress update, on the monotonic clock."""
    reported_steps: int = 0
    """Steps that were done then. A forward may end within a step."""

    @property
    def song(self) -> Song:
        return self.job.songs[self.item]


class StepQueue:
    """Songs in the order of their deadlines (earliest deadline first).

    The clock counts the tokens of all steps made so far. A song's deadline is the time of its arrival plus
    the tokens of all its steps: a short song overtakes long ones, and no song that arrives after a long
    song's deadline overtakes it. So the same songs stay in one batch until they are finished; in round robin
    they would all wait for each other.
    """

    def __init__(
        self, tokens: Callable[[Song], int], text_tokens: Callable[[Song], int] = lambda _song: 0
    ) -> None:
        """`tokens` returns the tokens of a song's next step, `text_tokens` those of the texts beside them.

        Neither is called while the song's step runs.
        """
        self._tokens = tokens
        self._text_tokens = text_tokens
        self._queued: list[QueuedSong] = []
        """Ordered by deadline."""
        self._clock = 0
        """Tokens of all steps so far."""

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def tokens(self) -> int:
        """Tokens of one step of every song."""
        return sum(queued.tokens for queued in self._queued)

    @property
    def largest(self) -> int:
        """Tokens of the largest song."""
        return max((queued.tokens for queued in self._queued), default=0)

    @property
    def largest_due(self) -> int:
        """Tokens of the largest song among the running ones and the next one to run."""
        waiting = next((queued for queued in self._queued if not queued.running), None)
        due = (queued for queued in self._queued if queued.running or queued is waiting)
        return max((queued.tokens for queued in due), default=0)

    @property
    def has_one_job(self) -> bool:
        """Whether all songs belong to one job."""
        return all(queued.job is self._queued[0].job for queued in self._queued)

    def join(self, job: DenoiseJob) -> None:
        """Add all songs of a job."""
        for item, song in enumerate(job.songs):
            tokens = self._tokens(song)
            deadline = self._clock + song.trajectory.forwards * tokens
            queued = QueuedSong(job, item, deadline, tokens, self._text_tokens(song))
            insort(self._queued, queued, key=lambda queued: queued.deadline)

    def leave(self, job: DenoiseJob) -> None:
        """Remove all songs of a job."""
        self._queued = [queued for queued in self._queued if queued.job is not job]

    def take(
        self, room: int, text_room: int | None = None, prefers_neighbours: bool = False
    ) -> list[QueuedSong]:
        """The waiting song with the earliest deadline, and all others that fit into `room` tokens with it.

        Their texts must fit into `text_room` tokens (None: there is no limit). With `prefers_neighbours`
        songs with the adapters of the first one go before others: their products are computed together.
        """
        batch: list[QueuedSong] = []
        waiting = [queued for queued in self._queued if not queued.running]
        if prefers_neighbours and waiting:
            first = waiting[0].job.mount
            waiting.sort(key=lambda queued: queued.job.mount is not first)
        for queued in waiting:
            has_text_room = text_room is None or queued.text_tokens <= text_room
            if not batch or (queued.tokens <= room and has_text_room):
                queued.running = True
                batch.append(queued)
                room -= queued.tokens
                if text_room is not None:
                    text_room -= queued.text_tokens
        return batch

    def put_back(self, batch: Sequence[QueuedSong]) -> None:
        """Let songs whose step was made wait for the next one, and remove finished songs."""
        self._clock += sum(queued.tokens for queued in batch)
        for queued in batch:
            queued.running = False
            if not queued.song.trajectory.done:
                queued.tokens = self._tokens(queued.song)
                queued.text_tokens = self._text_tokens(queued.song)
            elif queued in self._queued:  # its job may have left meanwhile
                self._queued.remove(queued)
