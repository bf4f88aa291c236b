"""The HTTP API as an ordinary FastAPI application, without Ray and models."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.security import APIKeyHeader, HTTPBearer

from configs.settings import Settings
from deployments.common.tracing import NO_SPANS, SpanRecorder
from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.callers import Callers
from serve_app.api.access.capacity import Slots
from serve_app.api.access.guard import add_guard
from serve_app.api.errors import add_error_handlers, error_responses
from serve_app.api.intake.body import BodyReader
from serve_app.api.intake.submission import Submission
from serve_app.api.intake.writing import Writing
from serve_app.api.jobs import VisibleJobs
from serve_app.api.routes.audio import audio_router
from serve_app.api.routes.events import events_router
from serve_app.api.routes.generate import generate_router
from serve_app.api.routes.jobs import jobs_router
from serve_app.api.routes.server import health_router, server_router
from serve_app.api.routes.writing import writing_router
from serve_app.api.service import JobService
from serve_app.api.threads import WorkerPools
from serve_app.request.capabilities import server_limits
from serve_app.storage import AudioStorage


def create_app(
    service: JobService,
    settings: Settings,
    storage: AudioStorage,
    spans: SpanRecorder = NO_SPANS,
    tell_keys_outdated: Callable[[bool], None] = lambda _outdated: None,
) -> FastAPI:
    """The API over a job service and the storage of its audio files.

    `tell_keys_outdated` is called periodically with whether the API keys in use differ from those in their
    file. Raises ValueError where the API keys are invalid.
    """
    limits = server_limits(settings)
    callers = Callers.of(settings.api, tell_keys_outdated)
    tokens = AudioTokens(service, settings.api.audio_token_seconds) if callers.need_keys else None
    jobs = VisibleJobs(service, tokens)
    pools = WorkerPools()
    submission = Submission(service, storage, settings, limits, spans, pools)
    app = FastAPI(
        title="acestep-serve",
        version="1",
        description="Music by ACE-Step 1.5: submit a job, poll it, download the songs.",
        lifespan=_running(submission),
    )
    slots = Slots(settings.api.open_requests)
    bodies = BodyReader(settings.api, pools.bodies)
    # Each route identifies the caller by itself. These only document in OpenAPI how a key is sent.
    documented = [
        Depends(HTTPBearer(auto_error=False)),
        Depends(APIKeyHeader(name="X-API-Key", auto_error=False)),
    ]
    add_error_handlers(app)
    add_guard(app, settings.api.cors_origins, settings.api.hosts)
    for router in (
        generate_router(submission, callers, limits, settings.api, bodies, slots),
        writing_router(
            submission,
            Writing(service, submission, limits),
            callers,
            limits,
            settings.api,
            bodies,
            pools.bodies,
            slots,
        ),
        jobs_router(service, callers, jobs, settings.api, slots),
        events_router(service, callers, jobs, settings.api, slots),
        audio_router(service, storage, callers, tokens, settings, pools.storage, slots),
        server_router(service, callers, settings, limits),
    ):
        app.include_router(
            router,
            dependencies=documented if callers.need_keys else [],
            responses=error_responses(503, *([401] if callers.need_keys else [])),
        )
    app.include_router(health_router(service))
    return app


def _running(submission: Submission) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The life of the application: it begins and ends with the processes that decode recordings."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(submission.start)
        try:
            yield
        finally:
            await asyncio.to_thread(submission.close)

    return lifespan
