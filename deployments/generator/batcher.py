"""Continuous batching: the songs of concurrent jobs go through one engine, step by step.

StepQueue orders the songs, StepScheduler divides them into batches, CorePool runs batches on further cores,
and EngineLoop calls the engine on its threads and watches its health. The functions in stepping.py are what
the threads execute.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from deployments.common.engine_loop import EngineLoop
from deployments.common.latents_store import Latents
from deployments.common.messages import AudioCodes, DenoiseRequest, Progress, Untimed, Window
from deployments.common.processor import engine_thread
from deployments.common.processor_share import FixedShare, Share
from deployments.common.stall_watch import STALLED_SECONDS
from deployments.generator.adapters.mounting import Mount
from deployments.generator.core_pool import CorePool
from deployments.generator.engine import FinishedSong, GeneratorEngine
from deployments.generator.lyrics.listener import HeardLyrics
from deployments.generator.measurements import Forward
from deployments.generator.scheduling import StepBatch, StepScheduler
from deployments.generator.step_queue import DenoiseJob, ItemUpdate, QueuedSong, StepQueue
from deployments.generator.stepping import StepOutcome, listen, make_step, prepare_next
from deployments.generator.tasks import NO_RECORDINGS, RecordingLatents

_FIXED = FixedShare()

_Result = TypeVar("_Result")


class StepBatcher:
    """Denoises songs of any lengths and settings side by side; in one forward each song makes one step.

    All songs of a job join the queue at once: a job that has the machine to itself is always batched in the
    same way, so that the same seeds give the same latents to the last bit. Beside other jobs the rounding may
    differ.

    The songs of a job that is cancelled or fails leave after the forward that is running.
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
        """`on_forward` is called after each forward.

        `progress_seconds` is the minimum time between two progress updates of a song.
        """
        self._engine = engine
        self._thread = thread or engine_thread("dit")
        self._on_forward = on_forward
        self._share = share
        self._progress_seconds = progress_seconds
        self._arrived: list[DenoiseJob] = []
        """Jobs with songs that are not prepared yet."""
        self._queue = StepQueue(engine.tokens, engine.text_tokens)
        self._scheduler = StepScheduler(self._queue, tokens_per_forward, share)
        self._pool = CorePool(self._scheduler, partial(self._step, set_threads=share.set_one_thread))
        self._loop = EngineLoop("DiT", "a step", self._run_jobs)
        self._last_step_seconds = 0.0

    async def run(
        self,
        requests: Sequence[DenoiseRequest],
        recordings: RecordingLatents = NO_RECORDINGS,
        mount: Mount | None = None,
    ) -> AsyncGenerator[ItemUpdate, None]:
        """Yield (item index, update) for one job: progress before and after steps, and once the song.

        `mount` are the adapters of all its songs. Raises the exception of the first song that fails, and
        EngineError where the device is lost.
        """
        job = DenoiseJob(requests, recordings, mount)
        self._arrived.append(job)
        self._loop.wake()
        finished = 0
        try:
            while finished < len(requests):
                update = await job.updates.get()
                if isinstance(update, Exception):
                    raise update
                finished += isinstance(update[1], FinishedSong)
                yield update
        finally:
            self._remove(job)

    async def listen(self, song: FinishedSong) -> HeardLyrics | Untimed | None:
        """A finished song's attention to its lyrics, computed between two steps of other songs.

        It is None where nobody asked for it, and otherwise the reason why there is none.
        """
        try:
            return await self._call(
                partial(listen, self._engine, song), self._thread, self._threads_beside_pool()
            )
        except Exception as error:
            raise self._loop.noted(error) from error

    async def tokenize(self, latents: Latents, window: Window | None) -> AudioCodes:
        """The audio codes of a recording, computed between two steps of the songs."""
        try:
            work = partial(self._engine.tokenize, latents, window)
            return await self._call(work, self._thread, self._threads_beside_pool())
        except Exception as error:
            raise self._loop.noted(error) from error

    def check(self, stalled_seconds: float = STALLED_SECONDS) -> None:
        """Raise RuntimeError if a forward hangs for more than `stalled_seconds` or the device is lost.

        Raises the exception of the batcher's task if it failed.
        """
        self._loop.check(stalled_seconds)

    async def _run_jobs(self) -> None:
        try:
            while self._arrived or self._queue or self._pool:
                self._pool.raise_error()
                await self._prepare_arrived()
                takes_all_cores = self._scheduler.forwards_at_once() == 1
                batch = self._scheduler.next_batch()
                if takes_all_cores:
                    await self._pool.wait_for_all()
                else:
                    self._pool.start_forwards()
                if batch:
                    await self._step(batch, self._thread, self._threads_beside_pool())
                if self._scheduler.in_lockstep:
                    await self._pool.wait_for_all()
                elif not batch:
                    await self._pool.wait_for_one()
        finally:
            self._share.release()

    def _threads_beside_pool(self) -> Callable[[], None]:
        """Sets the threads of a call on the main thread: one for each core that the pool leaves free."""
        return partial(self._share.set_threads, len(self._pool))

    async def _prepare_arrived(self) -> None:
        """Encode prompts and sources of new jobs.

        While songs are in the queue this takes about as long as the last step, so that they go on; otherwise
        it goes on until the prepared songs fill a forward.
        """
        songs_wait = bool(self._queue)
        spent = 0.0
        while self._arrived and not (
            spent > self._last_step_seconds if songs_wait else self._scheduler.is_full
        ):
            job = self._arrived[0]
            started = time.monotonic()
            try:
                prepare = partial(prepare_next, self._engine, job)
                await self._call(prepare, self._thread, self._threads_beside_pool())
            except Exception as error:
                self._fail(job, error)
            spent += time.monotonic() - started
            if job.prepared and job in self._arrived:  # its caller may have left meanwhile
                self._arrived.remove(job)
                for item, song in enumerate(job.songs):
                    job.updates.put_nowait((item, Progress("denoising", 0, song.trajectory.steps)))
                self._queue.join(job)

    async def _step(
        self, batch: StepBatch, thread: ThreadPoolExecutor, set_threads: Callable[[], None]
    ) -> None:
        """Run one forward on `thread`, and send the results to the jobs of its songs."""
        sizes = [self._engine.size(song) for song in batch.songs]  # of this step: they change with guidance
        step = partial(make_step, self._engine, batch.songs)
        started = time.monotonic()
        try:
            result = await self._call(step, thread, set_threads)
        finally:
            self._queue.put_back(batch.queued)
        self._last_step_seconds = time.monotonic() - started
        if result.failed_tokens is not None:
            self._scheduler.lower_limit(result.failed_tokens, batch.forwards)
        self._on_forward(Forward.measured(self._last_step_seconds, sizes, batch.token_slots))
        for queued, outcome in zip(batch.queued, result.outcomes, strict=True):
            self._report(queued, outcome)

    async def _call(
        self, work: Callable[[], _Result], thread: ThreadPoolExecutor, set_threads: Callable[[], None]
    ) -> _Result:
        def with_threads() -> _Result:
            set_threads()
            return work()

        return await self._loop.run_on(thread, with_threads)

    def _report(self, queued: QueuedSong, outcome: StepOutcome) -> None:
        """Send the result of a song's step to its job."""
        if isinstance(outcome, Exception):
            self._fail(queued.job, outcome)
            return
        trajectory, now = queued.song.trajectory, time.monotonic()
        is_due = trajectory.done or now - queued.reported_at >= self._progress_seconds
        if is_due and trajectory.step > queued.reported_steps:
            queued.reported_at, queued.reported_steps = now, trajectory.step
            progress = Progress("denoising", trajectory.step, trajectory.steps)
            queued.job.updates.put_nowait((queued.item, progress))
        if outcome is not None:
            queued.job.updates.put_nowait((queued.item, outcome))

    def _fail(self, job: DenoiseJob, error: Exception) -> None:
        job.updates.put_nowait(self._loop.noted(error))
        self._remove(job)

    def _remove(self, job: DenoiseJob) -> None:
        self._arrived = [other for other in self._arrived if other is not job]
        self._queue.leave(job)
