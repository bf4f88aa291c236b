"""The Generator deployment: makes the latents of songs from texts, codes and source latents."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from ray import serve

from configs import metrics
from configs.settings import Settings
from deployments.common.ending import ending_with_its_engine
from deployments.common.job_calls import JobCalls
from deployments.common.latents_store import LatentsStore
from deployments.common.messages import (
    AudioCodes,
    DenoisedLatents,
    DenoiseRequest,
    Progress,
    RecordingRefs,
    TokenizeRequest,
)
from deployments.common.meter import Meter
from deployments.common.processor import (
    engine_thread,
    keep_freed_memory,
    let_gpu_memory_grow,
    loading,
    use_threads,
)
from deployments.common.processor_share import share_of

if TYPE_CHECKING:
    from deployments.generator.engine import FinishedSong
    from deployments.generator.measurements import Forward
    from deployments.generator.tasks import RecordingLatents

_PROGRESS_SECONDS = 0.25
"""Minimum time between two progress messages of a song.

Each message takes processor time from the thread that drives the GPU.
"""


@serve.deployment(
    name="Generator",
    ray_actor_options={"num_cpus": 0.1},
    max_ongoing_requests=64,
    graceful_shutdown_timeout_s=600,  # time to finish a song of 600 s on a base model
    health_check_period_s=5,
)
class Generator:
    """One replica: the DiT `checkpoint` with its encoders, and the batcher that shares it among jobs."""

    def __init__(self, settings: Settings, checkpoint: str) -> None:
        self._checkpoint = checkpoint
        thread = engine_thread("dit")
        let_gpu_memory_grow(settings.generator.device)
        with loading():
            from deployments.checkpoints.adapters.shelf import AdapterShelf
            from deployments.generator.adapters.store import AdapterStore
            from deployments.generator.batcher import StepBatcher
            from deployments.generator.engine import load_engine

            use_threads(settings.generator.threads)
            engine = thread.submit(load_engine, settings.models, checkpoint, settings.generator).result()
        keep_freed_memory()  # after loading, whose memory has gone back to the kernel
        self._store = LatentsStore()
        self._calls = JobCalls(settings.tracing, "Generator")
        self._meter = Meter(metrics.GENERATOR_METRICS)
        self._batcher = StepBatcher(
            engine,
            settings.generator.tokens_per_forward,
            thread,
            self._count,
            share_of(settings.generator.device, settings.generator.threads),
            _PROGRESS_SECONDS,
        )
        self._adapters = AdapterStore(
            AdapterShelf(settings.models.adapters),
            engine.mounter,
            settings.generator.adapter_bytes,
            lambda: self._meter.count(metrics.ADAPTER_LOADS),
        )
        self._one_timing = asyncio.Lock()
        """Held while lyrics are timed: the attention of a long song takes half a gigabyte."""

    async def denoise(
        self, requests: tuple[DenoiseRequest, ...], recordings: RecordingRefs
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        """Yield (item index, progress) and once (item index, latents) for each item of a job.

        Raises JobError if the latents of an item are unusable or an adapter is,
        ray.exceptions.ObjectLostError if those of a recording are lost.
        """
        with self._calls.call("denoise", requests[0].origin, "preparing") as enter:
            latents = await _read(recordings)
            async with (
                ending_with_its_engine(self.check_health),
                self._adapters.mounted(requests[0].adapters) as adapters,
                aclosing(self._batcher.run(requests, latents, adapters.mount)) as news,
            ):
                async for item, update in news:
                    enter("steps")
                    if isinstance(update, Progress):
                        yield item, update
                    else:
                        used = replace(update.used, adapters=adapters.used)
                        stored = await self._store.put(update.latents)
                        yield item, await self._timed(update, DenoisedLatents(stored, used))

    async def _timed(self, song: "FinishedSong", denoised: DenoisedLatents) -> DenoisedLatents:
        """`denoised` with the times of the song's lyrics, or with the reason why there are none."""
        from deployments.generator.lyrics.listener import HeardLyrics
        from deployments.generator.lyrics.timing import timed_lyrics

        if song.lyrics is None:
            return denoised
        async with self._one_timing:
            heard = await self._batcher.listen(song)
            if isinstance(heard, HeardLyrics):
                return replace(denoised, timed_lyrics=await asyncio.to_thread(timed_lyrics, heard))
            return replace(denoised, used=replace(denoised.used, untimed=heard))

    async def tokenize(self, request: TokenizeRequest) -> AudioCodes:
        """The audio codes of a recording's latents, five a second.

        Raises ray.exceptions.ObjectLostError if the latents are lost.
        """
        with self._calls.call("tokenize", request.origin):
            latents = await request.latents.read()
            async with ending_with_its_engine(self.check_health):
                return await self._batcher.tokenize(latents, request.window)

    def ready(self) -> str:
        """The name of the loaded checkpoint."""
        return self._checkpoint

    async def check_health(self) -> None:
        """Raises RuntimeError if the engine cannot go on."""
        self._batcher.check()

    async def __del__(self) -> None:
        await self._store.linger()

    def _count(self, forward: "Forward") -> None:
        self._meter.count(metrics.DIT_FORWARDS)
        self._meter.count(metrics.DIT_SECONDS, forward.seconds)
        self._meter.count(metrics.DIT_SONG_STEPS, forward.songs)
        self._meter.count(metrics.DIT_TOKENS, forward.tokens)
        self._meter.count(metrics.DIT_TOKEN_SLOTS, forward.token_slots)
        self._meter.count(metrics.DIT_FRAMES, forward.frames)
        self._meter.count(metrics.DIT_PADDING_FRAMES, forward.padding_frames)


async def _read(recordings: RecordingRefs) -> "RecordingLatents":
    from deployments.generator.tasks import RecordingLatents

    source, reference = recordings.source, recordings.reference
    return RecordingLatents(
        None if source is None else await source.read(),
        None if reference is None else await reference.read(),
    )
