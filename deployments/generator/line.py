"""Songs in line for their next step: who is due, and who fits beside them."""

import asyncio
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from deployments.common.messages import DenoisedLatents, DenoiseRequest, Progress
from deployments.generator.engine import GeneratorEngine, Song

News = tuple[int, Progress | DenoisedLatents]
"""Of a job: which of its songs, and what there is to say of it."""


@dataclass(eq=False)
class Job:
    """Songs that were asked for together."""

    requests: Sequence[DenoiseRequest]
    songs: list[Song] = field(default_factory=list)
    """Those that are prepared."""
    news: asyncio.Queue[News | Exception] = field(default_factory=asyncio.Queue)

    @property
    def prepared(self) -> bool:
        return len(self.songs) == len(self.requests)

    def prepare_next(self, engine: GeneratorEngine) -> None:
        self.songs.append(engine.start(self.requests[len(self.songs)]))


@dataclass(eq=False)
class Turn:
    """One song in the line."""

    job: Job
    item: int
    due: int
    """On the line's clock."""
    tokens: int
    """Of its next step."""
    running: bool = False
    """Whether a forward has it."""
    told_at: float = -inf
    """When its progress was last told, on the monotonic clock."""

    @property
    def song(self) -> Song:
        return self.job.songs[self.item]


class Line:
    """A song is due when as much work as its own has been done since it joined.

    A short one overtakes long ones, and nobody who comes later than that overtakes a long one. So the same
    songs stay together to their end, where turns would have all of them wait for each other.
    """

    def __init__(self, tokens: Callable[[Song], int]) -> None:
        """`tokens` of a song's next step; not asked while a forward has the song."""
        self._tokens = tokens
        self._turns: list[Turn] = []
        """As they are due."""
        self._clock = 0
        """Tokens of all steps until now."""

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def tokens(self) -> int:
        """Of one step of every song."""
        return sum(turn.tokens for turn in self._turns)

    @property
    def largest(self) -> int:
        """Tokens of the longest song."""
        return max((turn.tokens for turn in self._turns), default=0)

    @property
    def largest_due(self) -> int:
        """Of those that forwards have and the one that is due next."""
        waiting = next((turn for turn in self._turns if not turn.running), None)
        return max((turn.tokens for turn in self._turns if turn.running or turn is waiting), default=0)

    @property
    def of_one_job(self) -> bool:
        return all(turn.job is self._turns[0].job for turn in self._turns)

    def join(self, job: Job) -> None:
        """All songs of a job, at once."""
        for item, song in enumerate(job.songs):
            tokens = self._tokens(song)
            due = self._clock + song.trajectory.steps * tokens
            insort(self._turns, Turn(job, item, due, tokens), key=lambda turn: turn.due)

    def leave(self, job: Job) -> None:
        self._turns = [turn for turn in self._turns if turn.job is not job]

    def take(self, room: int) -> list[Turn]:
        """The song that is due first of those that no forward has, and all that fit beside it into `room`."""
        batch: list[Turn] = []
        for turn in self._turns:
            if not turn.running and (not batch or turn.tokens <= room):
                turn.running = True
                batch.append(turn)
                room -= turn.tokens
        return batch

    def give_back(self, batch: Sequence[Turn]) -> None:
        """Songs whose step was made; those that are finished leave."""
        self._clock += sum(turn.tokens for turn in batch)
        for turn in batch:
            turn.running = False
            if not turn.song.trajectory.done:
                turn.tokens = self._tokens(turn.song)
            elif turn in self._turns:  # its job may have left meanwhile
                self._turns.remove(turn)
