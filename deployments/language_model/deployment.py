"""The LanguageModel deployment, which writes metadata and audio codes for captions and lyrics."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ray import serve

from configs.settings import Settings
from deployments.common.ending import ending_with_its_engine
from deployments.common.job_calls import JobCalls
from deployments.common.messages import (
    AudioCodes,
    ComposeRequest,
    DescribeRequest,
    Metadata,
    PlanRequest,
    Progress,
    SongDescription,
)
from deployments.common.processor import loading
from deployments.language_model.metrics import LanguageModelMetrics


@serve.deployment(
    name="LanguageModel",
    ray_actor_options={"num_cpus": 0.2},
    max_ongoing_requests=64,  # the engine queues runs that its batch has no room for
    graceful_shutdown_timeout_s=120,
    health_check_period_s=5,
    health_check_timeout_s=60,
)
class LanguageModel:
    """One replica, which runs the 5Hz LM `checkpoint` on the backends of the settings."""

    def __init__(self, settings: Settings, checkpoint: str) -> None:
        self._checkpoint = checkpoint
        self._calls = JobCalls(settings.tracing, "LanguageModel")
        with loading():
            from deployments.checkpoints.location import checkpoint_folder
            from deployments.language_model.engine import LanguageModelEngine

            folder = checkpoint_folder(settings.models, self._checkpoint)
            self._engine = LanguageModelEngine(folder, settings.language_model, LanguageModelMetrics())
        self._is_warm = False

    async def plan(self, request: PlanRequest) -> Metadata:
        """Complete the metadata: given values are returned unchanged, the LM writes the missing ones."""
        with self._calls.call("plan", request.origin):
            async with ending_with_its_engine(self._engine.check_health):
                return await self._engine.plan(request)

    async def describe(self, request: DescribeRequest) -> SongDescription:
        """Describe a song by a sentence, by its texts or by its codes. Raises UntrainedError."""
        with self._calls.call("describe", request.origin):
            async with ending_with_its_engine(self._engine.check_health):
                return await self._engine.describe(request)

    async def compose(self, request: ComposeRequest) -> AsyncGenerator[Progress | AudioCodes, None]:
        """Yield progress, then the audio codes. Cancelling the call frees the engine's rows at once."""
        with self._calls.call("compose", request.origin, "prefill") as enter:
            async with (
                ending_with_its_engine(self._engine.check_health),
                aclosing(self._engine.compose(request)) as answers,
            ):
                async for answer in answers:
                    enter("codes")
                    yield answer

    def fits(self, caption: str, lyrics: str, negative_prompt: str, code_count: int) -> bool:
        """Whether a song with these texts and `code_count` codes fits the LM's context."""
        return self._engine.fits(caption, lyrics, negative_prompt, code_count)

    def ready(self) -> str:
        """The name of the loaded checkpoint."""
        return self._checkpoint

    async def check_health(self) -> None:
        """Raises EngineError if an engine is dead or stalled. The first call warms up the engine.

        Serve calls this before it sends the first request.
        """
        if not self._is_warm:
            await self._engine.warm_up()
            self._is_warm = True
        await self._engine.check_health()

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.close()
