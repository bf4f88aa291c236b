"""The Generator deployment: texts, codes and source latents to the latents of a song."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from ray import serve

from configs import metrics
from configs.settings import Settings
from deployments.common.job_calls import JobCalls
from deployments.common.messages import DenoisedLatents, DenoiseRequest, Progress
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
    from deployments.generator.batcher import Forward

_STALLED_SECONDS = 300.0
"""A step that takes longer than any sane one means that the device hangs."""
_PROGRESS_SECONDS = 0.25
"""Between two messages of a song's progress: each costs the thread that drives the GPU some of its time."""


@serve.deployment(
    name="Generator",
    ray_actor_options={"num_cpus": 0.1},
    max_ongoing_requests=64,
    graceful_shutdown_timeout_s=600,  # a song of 600 s on a base model may be on its way
    health_check_period_s=5,
)
class Generator:
    """One replica: a DiT with its encoders, and the batcher in front of it."""

    def __init__(self, settings: Settings) -> None:
        self._checkpoint = settings.models.dit
        thread = engine_thread("dit")
        let_gpu_memory_grow(settings.generator.device)
        with loading():
            from deployments.generator.batcher import StepBatcher
            from deployments.generator.engine import load_engine

            use_threads(settings.generator.threads)
            engine = thread.submit(load_engine, settings.models, settings.generator).result()
        keep_freed_memory()  # that of steps; not what loading has freed
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

    async def denoise(
        self, requests: tuple[DenoiseRequest, ...]
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        """All items of a job: (item, progress) as each gets on, and once (item, latents).

        Raises JobError where the latents of one are unusable.
        """
        with self._calls.call("denoise", requests[0].origin, "preparing") as enter:
            async with aclosing(self._batcher.run(requests)) as news:
                async for item in news:
                    enter("steps")
                    yield item

    def ready(self) -> str:
        """The name of the loaded checkpoint."""
        return self._checkpoint

    def check_health(self) -> None:
        self._batcher.check(_STALLED_SECONDS)

    def _count(self, forward: "Forward") -> None:
        self._meter.count(metrics.DIT_FORWARDS)
        self._meter.count(metrics.DIT_SECONDS, forward.seconds)
        self._meter.count(metrics.DIT_SONG_STEPS, forward.songs)
        self._meter.count(metrics.DIT_TOKENS, forward.tokens)
        self._meter.count(metrics.DIT_TOKEN_SLOTS, forward.token_slots)
        self._meter.count(metrics.DIT_FRAMES, forward.frames)
        self._meter.count(metrics.DIT_PADDING_FRAMES, forward.padding_frames)
