"""The newest HTTP API of ACE-Step's own server, over the same jobs as the job API.

It is an application of its own inside the server's, because its rules differ for all routes: the form of its
errors, its prefix `/api`, and no redirects. docs/compatibility.md describes it.
"""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import Settings
from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.downloads import Downloads
from serve_app.api.errors import add_error_handlers
from serve_app.api.intake.submission import Submission
from serve_app.api.intake.writing import Writing
from serve_app.api.readiness import KnownCondition
from serve_app.api.refusals import PREFIX, is_of_job_api, refusal, without_prefix
from serve_app.api.release_task.audio import audio_router
from serve_app.api.release_task.calls import CallReader
from serve_app.api.release_task.chat.route import chat_router
from serve_app.api.release_task.loaded_adapters import CallersAdapters
from serve_app.api.release_task.lora import lora_router
from serve_app.api.release_task.making import JobMaker
from serve_app.api.release_task.mapping import RequestMapper
from serve_app.api.release_task.samples import samples_router
from serve_app.api.release_task.server import inventory_router
from serve_app.api.release_task.tasks import tasks_router
from serve_app.api.routes.server import health_router, server_router
from serve_app.api.service import JobService
from serve_app.api.threads import WorkerPools
from serve_app.request.adapters import KnownAdapters
from serve_app.request.capabilities import Limits


def release_task_app(
    service: JobService,
    settings: Settings,
    limits: Limits,
    calls: CallReader,
    submission: Submission,
    writing: Writing,
    downloads: Downloads,
    tokens: AudioTokens | None,
    known_condition: KnownCondition,
    pools: WorkerPools,
    slots: Slots,
    adapters: KnownAdapters,
) -> FastAPI:
    """The application with all routes."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    add_error_handlers(app, refusal)
    mapper = RequestMapper(limits)
    loaded = CallersAdapters(service, adapters)
    maker = JobMaker(submission, mapper, pools.bodies, loaded)
    for router in (
        tasks_router(service, calls, maker, tokens),
        audio_router(service, calls, downloads, tokens, slots),
        samples_router(
            calls,
            mapper,
            submission,
            writing,
            known_condition,
            limits,
            settings.api,
            slots,
            pools.bodies,
        ),
        inventory_router(known_condition, calls, limits),
        lora_router(calls, loaded),
        chat_router(
            service,
            calls,
            maker,
            downloads,
            known_condition,
            limits,
            pools.bodies,
            ClientSlots("chats", settings.api.client_requests, slots),
        ),
    ):
        app.router.routes.extend(router.routes)
    for router in (
        server_router(service, calls.authenticated, settings, limits, adapters),
        health_router(known_condition, limits),
    ):
        app.router.routes.extend(router.routes)
        for route in router.routes:
            if isinstance(route, APIRoute) and "GET" in route.methods:
                app.add_api_route(
                    route.path, route.endpoint, methods=["POST"], dependencies=router.dependencies
                )
    return app


class Doors:
    """ASGI middleware: leads requests for the job API on, and all others to the ACE-Step API's application.

    Each route has two doors, with and without `/api`, and a slash at the end makes no difference.
    """

    def __init__(self, app: ASGIApp, inner: FastAPI) -> None:
        """`inner` is the ACE-Step API."""
        self._app = app
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_of_job_api(scope["path"]):
            await self._app(scope, receive, send)
            return
        plain = without_prefix(scope["path"])
        root = PREFIX if scope["path"].startswith(f"{PREFIX}/") or scope["path"] == PREFIX else ""
        # Routes are looked up below the root path; errors have their form by the whole path.
        inside = {**scope, "path": root + plain, "root_path": root}
        await self._inner(inside, receive, send)
