"""One attempt at a job: its models and storage, its stage timings, and the concurrent calls for its items."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from configs.settings import Settings
from deployments.common.job_log import log_event
from deployments.common.messages import Origin, Progress, Stage
from deployments.common.tracing import NO_SPANS, SpanRecorder
from serve_app.execution.models import Models
from serve_app.jobs.clocks import Clock
from serve_app.jobs.model import Checkpoint, Job
from serve_app.jobs.progress import JobProgress
from serve_app.request.draft import Draft, draft_of
from serve_app.request.planning import dit_model, language_model
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage

Result = TypeVar("Result")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job, with everything that the pipeline needs."""

    job: Job
    models: Models
    storage: AudioStorage
    settings: Settings
    progress: JobProgress
    keep: Callable[[Checkpoint], Awaitable[None]]
    """Stores a checkpoint for the next attempt."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds per stage, including the stages that an earlier attempt has completed."""
    origin: Origin = field(default_factory=Origin)
    """The job and span that the models log and trace their work under."""
    spans: SpanRecorder = NO_SPANS
    steady: Clock = time.monotonic
    """Measures the stages."""

    @property
    def spec(self) -> JobSpec:
        return self.job.spec

    @cached_property
    def draft(self) -> Draft:
        """The decisions that follow from the specification."""
        return draft_of(self.spec)

    @property
    def language_model(self) -> str:
        """The name of the LM that plans and composes."""
        return language_model(self.spec.request, self.settings.models)

    @property
    def dit(self) -> str:
        """The name of the DiT that denoises."""
        return dit_model(self.spec, self.settings.models)

    @contextmanager
    def stage(self, stage: Stage, part: str | None = None) -> Iterator[Origin]:
        """Enter a stage with all items, and add its duration to `timings`. Yields the origin for model calls.

        `part` names the span where several spans belong to the same stage.
        """
        self.progress.enter(stage)
        started = self.steady()
        with self.spans.span(part or stage, self.origin) as origin:
            yield origin
        seconds = self.steady() - started
        self.timings[stage] = self.timings.get(stage, 0.0) + seconds
        log_event("stage_done", origin.job_id, attempt=self.job.attempt, stage=part or stage, seconds=seconds)

    async def keep_stages(self, plan: SongPlan, codes: tuple[tuple[int, ...] | None, ...] | None) -> None:
        """Store a checkpoint, from which the next attempt continues."""
        with self.spans.span("checkpoint", self.origin):
            await self.keep(Checkpoint(plan, codes, dict(self.timings)))

    async def each_item(
        self, kind: type[Result], call: Callable[[int], AsyncGenerator[Progress | Result, None]]
    ) -> list[Result]:
        """Run one streaming call per item concurrently; the results of type `kind` in item order.

        The first failure cancels the other items and is raised.
        """

        async def follow(item: int) -> Result:
            async with aclosing(call(item)) as answers:
                async for answer in answers:
                    if isinstance(answer, kind):
                        return answer
                    self._note(item, answer)
            raise _cut_short(kind)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(follow(item)) for item in range(len(self.spec.seeds))]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def all_items(
        self, kind: type[Result], call: AsyncGenerator[tuple[int, Progress | Result], None]
    ) -> list[Result]:
        """Follow one streaming call that serves all items; the results of type `kind` in item order."""
        results: dict[int, Result] = {}
        async with aclosing(call) as answers:
            async for item, answer in answers:
                if isinstance(answer, kind):
                    results[item] = answer
                self._note(item, answer)
        if len(results) < len(self.spec.seeds):
            raise _cut_short(kind)
        return [results[item] for item in sorted(results)]

    def _note(self, item: int, answer: object) -> None:
        if isinstance(answer, Progress):
            self.progress.update(item, answer)


def _cut_short(kind: type) -> RuntimeError:
    return RuntimeError(f"a deployment's stream ended without its {kind.__name__}")
