"""`GET /v1/audio/{job_id}/{index}.{extension}`."""

import hashlib
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from configs.settings import Settings
from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.callers import Caller, Callers
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.errors import error_responses
from serve_app.api.ranges import UnsatisfiableRangeError, byte_range
from serve_app.api.results import ResultFile, result_file
from serve_app.api.service import JobService
from serve_app.api.streams import SlotResponse
from serve_app.api.threads import WorkerPool
from serve_app.storage import AudioStorage, disposition


def audio_router(
    service: JobService,
    storage: AudioStorage,
    callers: Callers,
    tokens: AudioTokens | None,
    settings: Settings,
    pool: WorkerPool,
    slots: Slots,
) -> APIRouter:
    """Downloads of songs, through this server or by a redirect to the storage.

    `pool` runs the blocking calls to the storage.
    """
    router = APIRouter(tags=["audio"])
    redirect_seconds = settings.storage.redirect_seconds
    downloads = ClientSlots("downloads", settings.api.client_downloads, slots)

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
        token: Annotated[
            str | None,
            Query(description="Part of the URLs that polls give on a server with API keys."),
        ] = None,
    ) -> Response:
        """A song, or the part of it that `Range` asks for."""
        caller = await _caller(callers, tokens, request, token)
        view = await service.view(job_id)
        if view is None or not (caller is None or caller.may_see(view)):
            raise HTTPException(404, "Audio file not found")
        result = result_file(view, index, extension)
        if result is None:
            raise HTTPException(404, "Audio file not found")
        try:
            size = await pool.run(storage.size, result.uri)
        except FileNotFoundError as error:
            raise HTTPException(404, "Audio file not found") from error
        # A signed URL is valid for one method only, and HEAD is cheap here.
        if redirect_seconds is not None and request.method == "GET":
            url = await pool.run(
                storage.signed_url, result.uri, redirect_seconds, result.media_type, result.name
            )
            return RedirectResponse(url, 302, {"cache-control": "no-store"})
        part = _part(request, result, size)
        if request.method == "HEAD" or part.status == 304:
            return Response(status_code=part.status, headers=part.headers, media_type=result.media_type)
        return SlotResponse(
            _blocks(pool, storage.read(result.uri, part.start, part.stop)),
            downloads,
            view.client if caller is None else caller.client.name,
            status_code=part.status,
            headers=part.headers,
            media_type=result.media_type,
        )

    return router


async def _caller(
    callers: Callers, tokens: AudioTokens | None, request: Request, token: str | None
) -> Caller | None:
    """The caller; None for a request with a valid token for this song. Raises HTTPException with 401."""
    if token is None or tokens is None:
        return callers.identify(request)
    if await tokens.valid(request.url.path, token):
        return None
    try:
        return callers.identify(request)
    except HTTPException as error:
        message = "The token is invalid or has expired: polling the job gives a new one"
        raise HTTPException(401, message, error.headers) from error


@dataclass(frozen=True)
class _Part:
    """The response for a file: status, headers and the bytes [start, stop)."""

    status: int
    headers: dict[str, str]
    start: int = 0
    stop: int = 0


def _part(request: Request, result: ResultFile, size: int) -> _Part:
    """Raises HTTPException with 416."""
    etag = _etag(result, size)
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=86400, immutable",
        "content-disposition": disposition(result.name),
        "etag": etag,
    }
    if etag in request.headers.get("if-none-match", ""):
        return _Part(304, headers)
    asked = request.headers.get("range")
    if request.headers.get("if-range", etag) != etag:
        asked = None
    try:
        part = byte_range(asked, size)
    except UnsatisfiableRangeError as error:
        raise HTTPException(416, "Range not satisfiable", {"content-range": f"bytes */{size}"}) from error
    start, stop = part or (0, size)
    if part:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["content-length"] = str(stop - start)
    return _Part(206 if part else 200, headers, start, stop)


async def _blocks(pool: WorkerPool, blocks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The blocks of a file, each read on a thread of the pool."""
    while block := await pool.run(next, blocks, b""):
        yield block


def _etag(result: ResultFile, size: int) -> str:
    """The ETag. A finished file never changes, so its URI identifies it; the hash hides the URI."""
    return f'"{hashlib.sha256(f"{result.uri} {size}".encode()).hexdigest()[:32]}"'
