"""`GET /v1/audio/{job_id}/{index}.{extension}` and `GET /v1/audio/.../provenance`."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response, StreamingResponse

from configs.settings import Settings
from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.callers import Caller, Callers
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.downloads import NO_SUCH_FILE, Downloads
from serve_app.api.errors import error_responses
from serve_app.api.responses import ProvenanceResponse
from serve_app.api.results import provenance, result_file
from serve_app.api.service import JobService
from serve_app.jobs.model import JobView

Token = Annotated[
    str | None, Query(description="Part of the URLs that polls give on a server with API keys.")
]


def audio_router(
    service: JobService,
    downloads: Downloads,
    callers: Callers,
    tokens: AudioTokens | None,
    settings: Settings,
    slots: Slots,
) -> APIRouter:
    """Downloads of songs, through this server or by a redirect to the storage."""
    router = APIRouter(tags=["audio"])
    redirect_seconds = settings.storage.redirect_seconds
    open_downloads = ClientSlots("downloads", settings.api.client_downloads, slots)

    async def visible(
        request: Request, song: str, job_id: str, token: str | None
    ) -> tuple[Caller | None, JobView]:
        """The caller, None where a token stands for one, and the job. `song` is the path of the song."""
        caller = await _caller(callers, tokens, request, song, token)
        view = await service.view(job_id)
        if view is None or not (caller is None or caller.may_see(view)):
            raise HTTPException(404, NO_SUCH_FILE)
        return caller, view

    @router.head("/v1/audio/{job_id}/{index}.{extension}", include_in_schema=False)
    @router.get(
        "/v1/audio/{job_id}/{index}.{extension}",
        response_class=StreamingResponse,
        responses={
            200: {"description": "The song.", "content": {"audio/*": {}}},
            302: {"description": "A redirect to the song, on a server that does not send songs itself."},
            206: {"description": "The part of it that `Range` asks for.", "content": {"audio/*": {}}},
            304: {"description": "The song with the `ETag` in `If-None-Match`."},
            **error_responses(404, 416, 429),
        },
    )
    async def download(
        request: Request,
        job_id: str,
        index: str,
        extension: str,
        token: Token = None,
    ) -> Response:
        """A song, or the part of it that `Range` asks for."""
        caller, view = await visible(request, request.url.path, job_id, token)
        # A signed URL is valid for one method only, and HEAD is cheap here.
        if redirect_seconds is not None and request.method == "GET":
            return await downloads.redirect(view, index, extension, redirect_seconds)
        client = view.client if caller is None else caller.client.name
        return await downloads.response(request, view, index, extension, open_downloads.taken(client))

    @router.get("/v1/audio/{job_id}/{index}.{extension}/provenance", responses=error_responses(404))
    async def provenance_of(
        request: Request,
        job_id: str,
        index: str,
        extension: str,
        token: Token = None,
    ) -> ProvenanceResponse:
        """How a song was made, and the marks in its file that say so. Who may hear the song may ask this."""
        song = request.url.path.removesuffix("/provenance")
        _, view = await visible(request, song, job_id, token)
        if result_file(view, index, extension) is None:
            raise HTTPException(404, NO_SUCH_FILE)
        return provenance(view, index)

    return router


async def _caller(
    callers: Callers, tokens: AudioTokens | None, request: Request, song: str, token: str | None
) -> Caller | None:
    """The caller; None for a request with a valid token for this song. Raises HTTPException with 401."""
    if token is None or tokens is None:
        return callers.identify(request)
    if await tokens.valid(song, token):
        return None
    try:
        return callers.identify(request)
    except HTTPException as error:
        message = "The token is invalid or has expired: polling the job gives a new one"
        raise HTTPException(401, message, error.headers) from error
