"""The songs of concurrent jobs through one engine, a step at a time."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from deployments.common.errors import JobError
from deployments.common.messages import DenoisedLatents, DenoiseRequest, Progress
from deployments.common.processor import engine_thread
from deployments.common.processor_share import FixedShare, Share
from deployments.generator.engine import GeneratorEngine, Song, StepSize, Velocities
from deployments.generator.line import Job, Line, News, Turn

logger = logging.getLogger("ray.serve")

TOO_LARGE = "This song is too long for the memory of the server's model."

_FIXED = FixedShare()

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


class StepBatcher:
    """Moves songs side by side, whatever they are: a tick is one forward, in which each song makes one step.

    Each tick takes the song that is due first and all that fit beside it into `tokens_per_forward`. Where
    there are as many songs as the engine has cores, each core has a forward of its own with its part of the
    tokens: one forward on all cores waits for the slowest of them at the end of every operation.

    All songs of a job join at once: a job that has the machine to itself is always batched in the same way,
    so that the same seeds give the same latents to the last bit. Beside other work rounding may differ.

    A job that is cancelled or fails leaves after the forward that is running.
    """

    def __init__(
        self,
        engine: GeneratorEngine,
        tokens_per_forward: int,
        thread: ThreadPoolExecutor | None = None,
        on_forward: Callable[[Forward], object] = lambda _: None,
        share: Share = _FIXED,
        progress_seconds: float = 0.0,
    ) -> None:
        """`on_forward` is told of each tick; a song's progress is told at most every `progress_seconds`."""
        self._progress_seconds = progress_seconds
        self._engine = engine
        self._share = share
        self._on_forward = on_forward
        self._tokens_per_forward = tokens_per_forward
        self._arrived: list[Job] = []
        self._line = Line(engine.tokens)
        self._thread = thread or engine_thread("dit")
        self._threads_beside: list[ThreadPoolExecutor] = []
        """Of one core each."""
        self._beside: dict[int, asyncio.Task[None]] = {}
        """Ticks on them, by their places."""
        self._error_beside: BaseException | None = None
        """What nobody expected of one."""
        self._loop_task: asyncio.Task[None] | None = None
        self._work_started: dict[ThreadPoolExecutor, float] = {}
        self._last_tick_seconds = 0.0
        self._device_error: torch.AcceleratorError | None = None

    async def run(self, requests: Sequence[DenoiseRequest]) -> AsyncGenerator[News, None]:
        """Progress of each song of one job before its steps and after them, and its latents, with its index.

        Raises what went wrong with the first song that fails.
        """
        job = Job(requests)
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
        if self._work_started:
            seconds = time.monotonic() - min(self._work_started.values())
            if seconds > stalled_seconds:
                raise RuntimeError(f"a step of the DiT has been running for {seconds:.0f} s")

    async def _run_jobs(self) -> None:
        try:
            while self._arrived or self._line or self._beside:
                if self._error_beside is not None:
                    raise self._error_beside
                await self._prepare_arrived()
                has_all_cores = self._forwards_at_once() == 1
                batch = self._next_batch()
                if has_all_cores:
                    await self._wait_beside(asyncio.ALL_COMPLETED)
                else:
                    self._start_beside()
                if batch:
                    await self._tick(batch, self._thread, partial(self._share.work, len(self._beside)))
                if self._line.of_one_job:  # stays in step, so that it is always batched in the same way
                    await self._wait_beside(asyncio.ALL_COMPLETED)
                elif not batch:
                    await self._wait_beside(asyncio.FIRST_COMPLETED)
        finally:
            self._share.rest()

    def _forwards_at_once(self) -> int:
        """One on each core where there are songs for all of them, else one on all."""
        cores, line = self._share.cores, self._line
        if len(line) < cores:
            return 1
        if line.of_one_job:  # in step: nobody may have to wait for a longer one
            fits = line.largest <= min(self._tokens_per_forward, line.tokens // cores)
        else:
            fits = line.largest_due <= self._tokens_per_forward
        return cores if fits else 1

    def _start_beside(self) -> None:
        for place in range(self._forwards_at_once() - 1):
            if place not in self._beside and (batch := self._next_batch()):
                while len(self._threads_beside) <= place:
                    self._threads_beside.append(engine_thread(f"dit-beside-{len(self._threads_beside)}"))
                tick = self._tick(batch, self._threads_beside[place], self._share.work_beside)
                self._beside[place] = asyncio.create_task(tick)
                self._beside[place].add_done_callback(partial(self._ended_beside, place))

    def _ended_beside(self, place: int, tick: "asyncio.Task[None]") -> None:
        del self._beside[place]
        self._error_beside = self._error_beside or tick.exception()
        if self._error_beside is None and not self._line.of_one_job:
            self._start_beside()

    async def _wait_beside(self, until: str) -> None:
        if self._beside:
            await asyncio.wait(self._beside.values(), return_when=until)

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
                take_cores = partial(self._share.work, len(self._beside))
                await self._on_thread(self._thread, take_cores, partial(self._prepare_next, job))
            except Exception as error:
                self._fail(job, error)
            spent += time.monotonic() - started
            if job.prepared and job in self._arrived:  # its caller may have left meanwhile
                self._arrived.remove(job)
                for item, song in enumerate(job.songs):
                    job.news.put_nowait((item, Progress("denoising", 0, song.trajectory.steps)))
                self._line.join(job)

    def _prepare_next(self, job: Job) -> None:
        with suppress(torch.OutOfMemoryError, MemoryError):
            job.prepare_next(self._engine)
            return
        # The failed song's tensors are gone only here.
        self._engine.free_memory()
        job.prepare_next(self._engine)

    def _forward_is_full(self) -> bool:
        return self._line.tokens >= self._tokens_per_forward

    def _room(self) -> int:
        """Tokens for the next forward: those beside it have as many."""
        return min(self._tokens_per_forward, self._line.tokens) // self._forwards_at_once()

    def _next_batch(self) -> list[Turn]:
        return self._line.take(self._room())

    async def _tick(
        self, batch: list[Turn], thread: ThreadPoolExecutor, take_cores: Callable[[], None]
    ) -> None:
        songs = [turn.song for turn in batch]
        sizes = [self._engine.size(song) for song in songs]  # of this step; the next one may be another
        token_slots = self._tokens_per_forward // self._forwards_at_once()
        started = time.monotonic()
        try:
            outcomes = await self._on_thread(thread, take_cores, partial(self._step, songs))
        finally:
            self._line.give_back(batch)
        seconds = self._last_tick_seconds = time.monotonic() - started
        self._tell(seconds, sizes, token_slots)
        for turn, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._fail(turn.job, outcome)
                continue
            self._tell_progress(turn)
            if outcome is not None:
                turn.job.news.put_nowait((turn.item, outcome))

    def _tell_progress(self, turn: Turn) -> None:
        trajectory, now = turn.song.trajectory, time.monotonic()
        if trajectory.done or now - turn.told_at >= self._progress_seconds:
            turn.told_at = now
            turn.job.news.put_nowait((turn.item, Progress("denoising", trajectory.step, trajectory.steps)))

    def _tell(self, seconds: float, sizes: Sequence[StepSize], token_slots: int) -> None:
        tokens = sum(size.tokens for size in sizes)
        self._on_forward(
            Forward(
                seconds=seconds,
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
            self._lower_limit(self._forwards_at_once() * sum(self._engine.tokens(song) for song in songs))
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

    async def _on_thread(
        self, thread: ThreadPoolExecutor, take_cores: Callable[[], None], work: Callable[[], _Result]
    ) -> _Result:
        def with_cores() -> _Result:
            take_cores()
            return work()

        self._work_started[thread] = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, with_cores)
        finally:
            del self._work_started[thread]

    def _fail(self, job: Job, error: Exception) -> None:
        if isinstance(error, torch.AcceleratorError):  # whatever runs on the device from now on fails, too
            self._device_error = error
        job.news.put_nowait(error)
        self._remove(job)

    def _remove(self, job: Job) -> None:
        self._arrived = [other for other in self._arrived if other is not job]
        self._line.leave(job)
