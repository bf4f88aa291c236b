"""Capabilities, statistics and health of the server: `/v1/models`, `/v1/stats`, `/health`, `/ready`."""

from fastapi import APIRouter, Depends, HTTPException

from configs.domain import LANGUAGES
from configs.settings import Settings
from deployments.checkpoints.location import trained_tasks
from deployments.common.audio_formats import FORMATS
from serve_app.api.access.callers import Callers
from serve_app.api.errors import RETRY_SECONDS, error_responses
from serve_app.api.readiness import KnownCondition
from serve_app.api.responses import (
    DiTModel,
    HealthResponse,
    LanguageModel,
    ModelsResponse,
    ReadyResponse,
    StatsResponse,
)
from serve_app.api.service import JobService
from serve_app.jobs.model import JobState
from serve_app.request.capabilities import Limits


def server_router(service: JobService, callers: Callers, settings: Settings, limits: Limits) -> APIRouter:
    """Capabilities and statistics."""
    router = APIRouter(tags=["server"], dependencies=[Depends(callers)])

    @router.get("/v1/models")
    async def models() -> ModelsResponse:
        """Models with their capabilities, audio formats and limits."""
        return _models(settings, limits)

    @router.get("/v1/stats")
    async def stats() -> StatsResponse:
        """Jobs per status, durations and replicas."""
        counts = await service.stats()
        return StatsResponse(
            jobs=counts.jobs,
            queue_length=counts.jobs[JobState.QUEUED],
            queue_limit=counts.queue_limit,
            avg_job_seconds=counts.avg_job_seconds,
            stage_seconds=counts.stage_seconds,
            mode=counts.mode,
            replicas=await service.replicas(),
        )

    return router


def health_router(service: JobService) -> APIRouter:
    """Health checks for load balancers. They need no API key."""
    router = APIRouter(tags=["server"])
    known_condition = KnownCondition(service.condition)

    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    async def health() -> HealthResponse:
        """Whether the process answers."""
        return HealthResponse()

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


def _models(settings: Settings, limits: Limits) -> ModelsResponse:
    return ModelsResponse(
        models=[
            DiTModel(
                name=dit.name,
                is_default=dit is limits.dits[0],
                tasks=list(dit.tasks),
                takes_guidance=dit.takes_guidance,
                default_steps=dit.default_steps,
                default_shift=dit.default_shift,
                takes_timesteps=dit.takes_timesteps,
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
        audio_formats={name: FORMATS[name].description for name in limits.audio_formats},
        vocal_languages=list(LANGUAGES),
        max_duration=limits.max_duration,
        lm_max_duration=settings.language_model.lm_max_duration,
        default_batch_size=limits.default_batch_size,
        max_batch_size=limits.max_batch_size,
        max_upload_bytes=settings.api.max_upload_bytes,
    )
