"""The HTTP API as an ordinary FastAPI application, without Ray and models."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route

from configs.settings import Settings
from deployments.common.tracing import NO_SPANS, SpanRecorder
from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.callers import Callers
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.access.guard import add_guard
from serve_app.api.agents.calls import Calls
from serve_app.api.agents.endpoint import PATH, AgentsEndpoint
from serve_app.api.agents.llms import llms_router
from serve_app.api.document import DOCUMENT, CompressedDocument, document_errors
from serve_app.api.downloads import Downloads
from serve_app.api.errors import add_error_handlers
from serve_app.api.intake.batches import BatchSubmission
from serve_app.api.intake.body import BodyReader
from serve_app.api.intake.submission import Submission
from serve_app.api.intake.writing import Writing
from serve_app.api.jobs import VisibleJobs
from serve_app.api.prefix import Prefix
from serve_app.api.readiness import KnownCondition
from serve_app.api.refusals import refusal
from serve_app.api.release_task.app import Doors, release_task_app
from serve_app.api.release_task.calls import CallReader
from serve_app.api.routes.audio import audio_router
from serve_app.api.routes.batches import batches_router
from serve_app.api.routes.events import events_router
from serve_app.api.routes.generate import generate_router
from serve_app.api.routes.jobs import jobs_router
from serve_app.api.routes.server import health_router, ready_router, server_router
from serve_app.api.routes.usage import usage_router
from serve_app.api.routes.writing import writing_router
from serve_app.api.service import JobService
from serve_app.api.threads import WorkerPools
from serve_app.api.waiting import WaitingSubmits
from serve_app.request.adapters import KnownAdapters
from serve_app.request.capabilities import server_limits
from serve_app.storage import AudioStorage
from serve_app.studio.routes import studio_router

logger = logging.getLogger("ray.serve")


def create_app(
    service: JobService,
    settings: Settings,
    storage: AudioStorage,
    spans: SpanRecorder = NO_SPANS,
    tell_keys_outdated: Callable[[bool], None] = lambda _outdated: None,
    while_running: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> FastAPI:
    """The API over a job service and the storage of its audio files.

    `tell_keys_outdated` is called periodically with whether the API keys in use differ from those in their
    file. `while_running` begins when the application starts, and is cancelled when it stops.

    Raises ValueError where the API keys are invalid.
    """
    limits = server_limits(settings)
    callers = Callers.of(settings.api, tell_keys_outdated)
    tokens = AudioTokens(service, settings.api.audio_token_seconds) if callers.need_keys else None
    jobs = VisibleJobs(service, tokens)
    pools = WorkerPools()
    adapters = KnownAdapters(settings.models)
    submission = Submission(service, storage, settings, limits, spans, pools, adapters)
    slots = Slots(settings.api.open_requests)
    long_polls = ClientSlots("long polls", settings.api.client_requests, slots)
    waiting = WaitingSubmits(service, callers, jobs, long_polls)
    bodies = BodyReader(settings.api, pools.bodies)
    agents = AgentsEndpoint(
        Calls(service, submission, callers, jobs, limits),
        callers,
        bodies,
        ClientSlots("calls of agents", settings.api.client_requests, slots),
    )
    app = FastAPI(
        title="acestep-serve",
        version="1",
        description="Music by ACE-Step 1.5: submit a job, poll it, download the songs.",
        openapi_url=DOCUMENT,
        lifespan=_running(submission, agents, while_running),
    )
    downloads = Downloads(storage, pools.storage)
    known_condition = KnownCondition(service.condition)
    writing = Writing(service, submission, limits)
    release_task = release_task_app(
        service,
        settings,
        limits,
        CallReader(callers, bodies, settings.api, slots),
        submission,
        writing,
        downloads,
        tokens,
        known_condition,
        pools,
        slots,
        adapters,
    )
    add_error_handlers(app, refusal)
    app.add_middleware(CompressedDocument)
    app.add_middleware(Doors, inner=release_task)
    add_guard(app, settings.api.cors_origins, settings.api.hosts)
    app.add_middleware(Prefix)
    routers = (
        generate_router(submission, callers, limits, settings.api, bodies, slots, waiting),
        writing_router(
            submission,
            writing,
            callers,
            limits,
            settings.api,
            bodies,
            pools.bodies,
            slots,
            waiting,
        ),
        jobs_router(service, callers, jobs, long_polls),
        events_router(service, callers, jobs, settings.api, slots),
        audio_router(service, downloads, callers, tokens, settings, slots),
        server_router(service, callers, settings, limits, adapters),
        batches_router(
            service,
            submission,
            BatchSubmission(service, submission, settings, limits, pools.bodies),
            callers,
            limits,
            settings.api,
            bodies,
            slots,
        ),
        usage_router(service, callers),
    )
    # `include_router` would build each route a second time, which takes most of the time of this function.
    for router in (*routers, health_router(known_condition, limits), ready_router(known_condition)):
        app.router.routes.extend(router.routes)
    app.router.routes.extend(llms_router(settings.api).routes)
    document_errors(app, routers, callers.need_keys)
    if settings.api.mcp:
        app.router.routes.append(Route(PATH, agents, include_in_schema=False))
    if settings.api.studio:
        redirects = settings.storage.redirect_seconds is not None
        app.router.routes.extend(studio_router(downloads.redirect_origin if redirects else None).routes)
    return app


def _running(
    submission: Submission, agents: AgentsEndpoint, work: Callable[[], Coroutine[Any, Any, None]] | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The life of the application: `work` goes on while it runs, and so do the processes that decode."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(submission.start)
        task = asyncio.create_task(work()) if work else None
        if task:
            task.add_done_callback(_log_failure)
        try:
            yield
        finally:
            if task:
                task.cancel()
            await agents.close()
            await asyncio.to_thread(submission.close)

    return lifespan


def _log_failure(work: asyncio.Task[None]) -> None:
    """Log the error that has ended the work beside the requests, which nobody awaits."""
    if not work.cancelled() and (error := work.exception()):
        logger.error("the work beside the requests has failed", exc_info=error)
