"""The songs of concurrent jobs through one engine, on one private thread, a step at a time."""

import asyncio
import logging
import time
from bisect import insort
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch

from deployments.errors import JobError
from deployments.generator.engine import GeneratorEngine, Song, StepSize, Velocities
from deployments.messages import DenoisedLatents, DenoiseRequest, Progress
from deployments.processor import engine_thread
from deployments.processor_share import FixedShare, Share

logger = logging.getLogger("ray.serve")

TOO_LARGE = "This song is too long for the memory of the server's model."

_FIXED = FixedShare()

_News = tuple[int, Progress | DenoisedLatents]
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Forward:
    """What a tick did."""

    seconds: float
    songs: int
    tokens: int
    token_slots: int
    """Tokens that there was room for."""
    frames: int
    """Latent frames of all rows, with those that fill up patches."""
    padding_frames: int


@dataclass(eq=False)
class _Job:
    requests: Sequence[DenoiseRequest]
    songs: list[Song] = field(default_factory=list)
    """Those that are prepared."""
    news: asyncio.Queue[_News | Exception] = field(default_factory=asyncio.Queue)

    @property
    def prepared(self) -> bool:
        return len(self.songs) == len(self.requests)

    def prepare_next(self, engine: GeneratorEngine) -> None:
        self.songs.append(engine.start(self.requests[len(self.songs)]))


@dataclass(eq=False)
class _Turn:
    """One running song, in the line for its next step."""

    job: _Job
    item: int
    due: int
    """On the batcher's clock."""

    @property
    def song(self) -> Song:
        return self.job.songs[self.item]


class StepBatcher:
    """Moves songs side by side, whatever they are: a tick is one forward, in which each song makes one step.

    Each tick takes the song that is due first and all that fit beside it into `tokens_per_forward`. A song is
    due when as much work as its own has been done since it joined: a short one overtakes long ones, and
    nobody who comes later than that overtakes a long one. So the same songs stay together to their end, where
    turns would have all of them wait for each other.

    All songs of a job join at once: a job that has the server to itself is always batched in the same way, so
    that the same seeds give the same latents to the last bit. Beside other jobs they may differ in rounding.

    A job that is cancelled or fails leaves after the forward that is running.
    """

    def __init__(
        self,
        engine: GeneratorEngine,
        tokens_per_forward: int,
        thread: ThreadPoolExecutor | None = None,
        on_forward: Callable[[Forward], object] = lambda _: None,
        share: Share = _FIXED,
    ) -> None:
        """`on_forward` is told of each tick."""
        self._engine = engine
        self._share = share
        self._on_forward = on_forward
        self._tokens_per_forward = tokens_per_forward
        self._arrived: list[_Job] = []
        self._line: list[_Turn] = []
        """As they are due."""
        self._clock = 0
        """Tokens of all steps until now."""
        self._thread = thread or engine_thread("dit")
        self._loop_task: asyncio.Task[None] | None = None
        self._work_started: float | None = None
        self._last_tick_seconds = 0.0
        self._device_error: torch.AcceleratorError | None = None

    async def run(self, requests: Sequence[DenoiseRequest]) -> AsyncGenerator[_News, None]:
        """Progress of each song of one job before its steps and after each, and its latents, with its index.

        Raises what went wrong with the first song that fails.
        """
        job = _Job(requests)
        self._arrived.append(job)
        if self._loop_task is None or self._loop_task.done():
            self._loop_task = asyncio.create_task(self._run_jobs())
        finished = 0
        try:
            while finished < len(requests):
                news = await job.news.get()
                if isinstance(news, Exception):
                    raise news
                finished += isinstance(news[1], DenoisedLatents)
                yield news
        finally:
            self._remove(job)

    def check(self, stalled_seconds: float) -> None:
        """Raise RuntimeError where a forward has hung for so long, the device or the loop is dead."""
        if self._device_error is not None:
            raise RuntimeError("the device of the DiT is lost") from self._device_error
        if self._loop_task is not None and self._loop_task.done():
            self._loop_task.result()
        if self._work_started is not None:
            seconds = time.monotonic() - self._work_started
            if seconds > stalled_seconds:
                raise RuntimeError(f"a step of the DiT has been running for {seconds:.0f} s")

    async def _run_jobs(self) -> None:
        try:
            while self._arrived or self._line:
                await self._prepare_arrived()
                if batch := self._next_batch():
                    await self._tick(batch)
        finally:
            self._share.rest()

    async def _prepare_arrived(self) -> None:
        """Encode prompts and sources: of a full forward at first, then for as long as the last tick took."""
        songs_wait = bool(self._line)
        spent = 0.0
        while self._arrived and not (
            spent > self._last_tick_seconds if songs_wait else self._forward_is_full()
        ):
            job = self._arrived[0]
            started = time.monotonic()
            try:
                await self._on_thread(partial(job.prepare_next, self._engine))
            except Exception as error:
                self._fail(job, error)
            spent += time.monotonic() - started
            if job.prepared and job in self._arrived:  # its caller may have left meanwhile
                self._arrived.remove(job)
                for item, song in enumerate(job.songs):
                    steps = song.trajectory.steps
                    job.news.put_nowait((item, Progress("denoising", 0, steps)))
                    due = self._clock + steps * self._engine.tokens(song)
                    insort(self._line, _Turn(job, item, due), key=lambda turn: turn.due)

    def _forward_is_full(self) -> bool:
        return sum(self._engine.tokens(turn.song) for turn in self._line) >= self._tokens_per_forward

    def _next_batch(self) -> list[_Turn]:
        batch: list[_Turn] = []
        room = self._tokens_per_forward
        for turn in self._line:
            tokens = self._engine.tokens(turn.song)
            if not batch or tokens <= room:
                batch.append(turn)
                room -= tokens
        return batch

    async def _tick(self, batch: list[_Turn]) -> None:
        songs = [turn.song for turn in batch]
        sizes = [self._engine.size(song) for song in songs]  # of this step; the next one may be another
        token_slots = self._tokens_per_forward
        started = time.monotonic()
        outcomes = await self._on_thread(partial(self._step, songs))
        self._last_tick_seconds = time.monotonic() - started
        self._clock += sum(size.tokens for size in sizes)
        self._tell(sizes, token_slots)
        for turn, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._fail(turn.job, outcome)
                continue
            trajectory = turn.song.trajectory
            turn.job.news.put_nowait((turn.item, Progress("denoising", trajectory.step, trajectory.steps)))
            if outcome is not None:
                turn.job.news.put_nowait((turn.item, outcome))
                if turn in self._line:
                    self._line.remove(turn)

    def _tell(self, sizes: Sequence[StepSize], token_slots: int) -> None:
        tokens = sum(size.tokens for size in sizes)
        self._on_forward(
            Forward(
                seconds=self._last_tick_seconds,
                songs=len(sizes),
                tokens=tokens,
                token_slots=max(token_slots, tokens),
                frames=sum(size.frames for size in sizes),
                padding_frames=sum(size.padding_frames for size in sizes),
            )
        )

    def _step(self, songs: Sequence[Song]) -> list[DenoisedLatents | Exception | None]:
        """Of each song its latents where it is finished, or what went wrong with it."""
        return [
            said if isinstance(said, Exception) else self._advance(song, said)
            for song, said in zip(songs, self._velocities(songs), strict=True)
        ]

    def _velocities(self, songs: Sequence[Song]) -> list[Velocities | Exception]:
        """A batch that fails is halved until only the culprits do."""
        out_of_memory = False
        try:
            return list(self._engine.velocities(songs))
        except (torch.OutOfMemoryError, MemoryError):
            out_of_memory = True
        except Exception as error:
            if len(songs) == 1:
                return [error]
        # The failed forward's tensors are gone only here, outside the except clause.
        if out_of_memory:
            self._engine.free_memory()
            if len(songs) == 1:
                return [JobError(TOO_LARGE)]
            self._lower_limit(sum(self._engine.tokens(song) for song in songs))
        half = len(songs) // 2
        return self._velocities(songs[:half]) + self._velocities(songs[half:])

    def _lower_limit(self, failed_tokens: int) -> None:
        self._tokens_per_forward = min(self._tokens_per_forward, failed_tokens // 2)
        logger.warning(
            "a forward of %d tokens did not fit into memory; from now on they have %d (tokens_per_forward)",
            failed_tokens,
            self._tokens_per_forward,
        )

    def _advance(self, song: Song, velocities: Velocities) -> DenoisedLatents | Exception | None:
        try:
            self._engine.advance(song, velocities)
            return self._engine.finish(song) if song.trajectory.done else None
        except Exception as error:
            return error

    async def _on_thread(self, work: Callable[[], _Result]) -> _Result:
        def with_a_share_of_the_cores() -> _Result:
            self._share.work()
            return work()

        self._work_started = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, with_a_share_of_the_cores)
        finally:
            self._work_started = None

    def _fail(self, job: _Job, error: Exception) -> None:
        if isinstance(error, torch.AcceleratorError):  # whatever runs on the device from now on fails, too
            self._device_error = error
        job.news.put_nowait(error)
        self._remove(job)

    def _remove(self, job: _Job) -> None:
        self._arrived = [other for other in self._arrived if other is not job]
        self._line = [turn for turn in self._line if turn.job is not job]
