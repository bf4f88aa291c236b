"""Capabilities, statistics and health of the server: `/v1/models`, `/v1/stats`, `/health`, `/ready`."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, HTTPException

from configs.domain import LANGUAGES, NEWEST_SAMPLING
from configs.settings import Settings
from deployments.checkpoints.location import follows_lyrics, trained_tasks
from deployments.common.audio_formats import FORMATS
from serve_app.api.errors import RETRY_SECONDS, error_responses
from serve_app.api.readiness import KnownCondition
from serve_app.api.responses import (
    Adapter,
    DiTModel,
    HealthData,
    HealthResponse,
    LanguageModel,
    ListedModel,
    ModelsResponse,
    Pricing,
    ReadyResponse,
    StatsData,
    StatsResponse,
)
from serve_app.api.service import JobService
from serve_app.jobs.model import JobState
from serve_app.request.adapters import KnownAdapters, ListedAdapter
from serve_app.request.capabilities import Limits

MODEL_PREFIX = "acestep/"
"""Beginning of a music model's id in chat clients, which split it there."""
COUNTED = (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED)
CONTEXT_LENGTH = 4_096
"""Tokens of a prompt, as the original announces them."""
HEALTH_PATIENCE_SECONDS = 1.0


def server_router(
    service: JobService,
    identify: Callable[..., Any],
    settings: Settings,
    limits: Limits,
    adapters: KnownAdapters,
) -> APIRouter:
    """Capabilities and statistics. `identify` is a dependency that raises HTTPException with 401."""
    router = APIRouter(tags=["server"], dependencies=[Depends(identify)])
    started_at = int(time.time())

    @router.get("/v1/models")
    async def models() -> ModelsResponse:
        """Models with their capabilities, adapters, audio formats and limits."""
        listed = await asyncio.to_thread(adapters.listed)
        return _models(settings, limits, started_at, listed)

    @router.get("/v1/stats")
    async def stats() -> StatsResponse:
        """Jobs per status, durations and replicas."""
        counts = await service.stats()
        return StatsResponse(
            data=StatsData(
                jobs={"total": sum(counts.jobs.values()), **{state: counts.jobs[state] for state in COUNTED}},
                queue_size=counts.jobs[JobState.QUEUED],
                queue_maxsize=counts.queue_limit,
                avg_job_seconds=counts.avg_job_seconds,
            ),
            jobs=counts.jobs,
            queue_length=counts.jobs[JobState.QUEUED],
            queue_limit=counts.queue_limit,
            avg_job_seconds=counts.avg_job_seconds,
            stage_seconds=counts.stage_seconds,
            mode=counts.mode,
            replicas=await service.replicas(),
        )

    return router


def health_router(known_condition: KnownCondition, limits: Limits) -> APIRouter:
    """The health check for load balancers. It needs no API key."""
    router = APIRouter(tags=["server"])

    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    async def health() -> HealthResponse:
        """Whether the process answers, and whether the models can serve."""
        ready = await _ready_parts(known_condition)
        has_music, has_language = "Generator" in ready, "LanguageModel" in ready
        return HealthResponse(
            data=HealthData(
                models_initialized=has_music,
                llm_initialized=has_language,
                loaded_model=limits.dits[0].name if has_music else None,
                loaded_lm_model=limits.language_models[0] if has_language else None,
            )
        )

    return router


def ready_router(known_condition: KnownCondition) -> APIRouter:
    """The readiness check for load balancers. It needs no API key."""
    router = APIRouter(tags=["server"])

    @router.head("/ready", include_in_schema=False)
    @router.get("/ready", responses=error_responses(503))
    async def ready() -> ReadyResponse:
        """Whether the job tracker and every deployment that a default request needs can serve."""
        condition = await known_condition()
        if condition.mode is None or condition.away:
            retry = {"Retry-After": f"{RETRY_SECONDS:g}"}
            raise HTTPException(503, f"Not ready: {', '.join(condition.away)}", retry)
        return ReadyResponse(mode=condition.mode, parts=dict(condition.parts), no_room=condition.no_room)

    return router


async def _ready_parts(known_condition: KnownCondition) -> set[str]:
    """The parts that can serve. None counts while they do not answer soon: a health check must be quick."""
    try:
        async with asyncio.timeout(HEALTH_PATIENCE_SECONDS):
            condition = await known_condition()
    except TimeoutError:
        return set()
    return set(condition.parts) - set(condition.away)


def _adapter(listed: ListedAdapter) -> Adapter:
    outline = listed.outline
    return Adapter(
        name=listed.file.name,
        form=None if outline is None else outline.form,
        rank=None if outline is None else outline.rank,
        targets=[] if outline is None else list(outline.targets),
        is_dora=outline is not None and outline.decomposition is not None,
        parameters=None if outline is None else outline.parameters,
        bytes=listed.file.file_bytes,
        models=list(listed.models),
        warnings=[] if outline is None else list(outline.warnings),
        problem=listed.problem,
    )


def _models(
    settings: Settings, limits: Limits, started_at: int, adapters: list[ListedAdapter]
) -> ModelsResponse:
    return ModelsResponse(
        data=[
            ListedModel(
                id=f"{MODEL_PREFIX}{dit.name}",
                name=dit.name,
                created=started_at,
                input_modalities=["text", "audio"],
                output_modalities=["audio", "text"],
                context_length=CONTEXT_LENGTH,
                max_output_length=int(limits.max_duration),
                pricing=Pricing(),
                description=f"ACE-Step 1.5 music model; tasks: {', '.join(dit.tasks)}",
            )
            for dit in limits.dits
        ],
        models=[
            DiTModel(
                name=dit.name,
                is_default=dit is limits.dits[0],
                tasks=list(dit.tasks),
                takes_guidance=dit.takes_guidance,
                default_steps=dit.default_steps,
                default_shift=dit.default_shift,
                takes_timesteps=dit.takes_timesteps(NEWEST_SAMPLING),
                is_corrected=dit.is_corrected,
                follows_lyrics=follows_lyrics(settings.models, dit.name),
            )
            for dit in limits.dits
        ],
        default_model=limits.dits[0].name,
        lm_models=[
            LanguageModel(
                name=name,
                is_default=name == limits.language_models[0],
                backends=list(limits.backends),
                trained_tasks=sorted(trained_tasks(settings.models, name)),
            )
            for name in limits.language_models
        ],
        default_lm_model=limits.language_models[0],
        adapters=list(map(_adapter, adapters)),
        audio_formats={name: FORMATS[name].description for name in limits.audio_formats},
        vocal_languages=list(LANGUAGES),
        max_duration=limits.max_duration,
        lm_max_duration=settings.language_model.lm_max_duration,
        default_batch_size=limits.default_batch_size,
        max_batch_size=limits.max_batch_size,
        max_upload_bytes=settings.api.max_upload_bytes,
        result_seconds=settings.storage.result_seconds,
        record_seconds=settings.storage.record_seconds,
    )
