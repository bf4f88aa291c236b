"""`GET /v1/audio/{job_id}/{index}.{extension}`."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from serve_app.api.audio_tokens import AudioTokens
from serve_app.api.callers import Callers
from serve_app.api.errors import error_responses
from serve_app.api.ranges import UnsatisfiableRangeError, byte_range
from serve_app.api.results import ResultFile, result_file
from serve_app.api.service import JobService
from serve_app.jobs.model import JobView
from serve_app.storage import AudioStorage, disposition


def audio_router(
    service: JobService,
    storage: AudioStorage,
    callers: Callers,
    tokens: AudioTokens | None,
    redirect_seconds: int | None,
) -> APIRouter:
    """Downloading songs, from any storage, by any replica; or, redirected, from the storage itself."""
    router = APIRouter(tags=["audio"])

    @router.head("/v1/audio/{job_id}/{index}.{extension}", include_in_schema=False)
    @router.get(
        "/v1/audio/{job_id}/{index}.{extension}",
        response_class=StreamingResponse,
        responses={
            200: {"description": "The song.", "content": {"audio/*": {}}},
            302: {"description": "Where the song is, on a server that does not send songs itself."},
            206: {"description": "The part of it that `Range` asks for.", "content": {"audio/*": {}}},
            304: {"description": "The song with the `ETag` in `If-None-Match`."},
            **error_responses(404, 416),
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
        may_see = await _permission(callers, tokens, request, token)
        view = await service.view(job_id)
        result = result_file(view, index, extension) if view and may_see(view) else None
        if result is None:
            raise HTTPException(404, "Audio file not found")
        try:
            size = await asyncio.to_thread(storage.size, result.uri)
        except FileNotFoundError as error:
            raise HTTPException(404, "Audio file not found") from error
        # A signed URL is good for one method, and HEAD costs nothing here.
        if redirect_seconds is not None and request.method == "GET":
            url = await asyncio.to_thread(
                storage.signed_url, result.uri, redirect_seconds, result.media_type, result.name
            )
            return RedirectResponse(url, 302, {"cache-control": "no-store"})
        return _answer(request, storage, result, size)

    return router


async def _permission(
    callers: Callers, tokens: AudioTokens | None, request: Request, token: str | None
) -> Callable[[JobView], bool]:
    """Whose songs a request may fetch. Raises HTTPException with 401."""
    if token is None or tokens is None:
        return callers.identify(request).may_see
    if await tokens.valid(request.url.path, token):
        return lambda _view: True
    try:
        return callers.identify(request).may_see
    except HTTPException as error:
        message = "The token is invalid or has expired: polling the job gives a new one"
        raise HTTPException(401, message, error.headers) from error


def _answer(request: Request, storage: AudioStorage, result: ResultFile, size: int) -> Response:
    etag = _etag(result, size)
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=86400, immutable",
        "content-disposition": disposition(result.name),
        "etag": etag,
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
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
    return StreamingResponse(
        () if request.method == "HEAD" else storage.read(result.uri, start, stop),
        status_code=206 if part else 200,
        headers={**headers, "content-length": str(stop - start)},
        media_type=result.media_type,
    )


def _etag(result: ResultFile, size: int) -> str:
    """A finished file never changes, so where it lies identifies it; hashed: users need not know it."""
    return f'"{hashlib.sha256(f"{result.uri} {size}".encode()).hexdigest()[:32]}"'
