"""`GET /` and `GET /studio/{path}`: the studio, the page on which one makes music with this server.

The files say nothing about users and need no API key; the page asks for one where the API does.
"""

import re
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from serve_app.studio.files import PAGE, Encoded, StudioFile, studio_files
from serve_app.studio.policy import page_headers

CACHE_CONTROL = "no-cache"
"""Browsers keep files, and ask by ETag each time: after an upgrade no old module meets a new one for long."""
_ACCEPTED = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?", re.IGNORECASE)


def studio_router(song_origin: Callable[[], Awaitable[str | None]] | None = None) -> APIRouter:
    """The routes of all files.

    `song_origin` finds the origin to which the server redirects downloads of songs; None where it does not.
    """
    router = APIRouter(include_in_schema=False)
    files = studio_files()

    async def answer(request: Request, file: StudioFile) -> Response:
        return _response(request, file, page_headers(await song_origin() if song_origin else None))

    @router.head("/")
    @router.get("/")
    async def page(request: Request) -> Response:
        return await answer(request, files[PAGE])

    @router.head("/studio/{path:path}")
    @router.get("/studio/{path:path}")
    async def file(request: Request, path: str) -> Response:
        if path not in files:
            raise HTTPException(404, "The studio has no such file")
        return await answer(request, files[path])

    return router


def _response(request: Request, file: StudioFile, security: Mapping[str, str]) -> Response:
    compressed = file.compressed if _accepts_gzip(request.headers.get("accept-encoding", "")) else None
    sent: Encoded = compressed or file.plain
    headers = {
        **security,
        "cache-control": CACHE_CONTROL,
        "content-type": file.media_type,
        "etag": sent.etag,
        "vary": "Accept-Encoding",
        **({"content-encoding": "gzip"} if compressed else {}),
    }
    if _is_known(sent.etag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(len(sent.content))
    return Response(b"" if request.method == "HEAD" else sent.content, headers=headers)


def _accepts_gzip(header: str) -> bool:
    """Whether an `Accept-Encoding` (RFC 9110 §12.5.3) admits gzip."""
    weights = {
        match[1].lower(): float(match[2] or 1)
        for part in header.split(",")
        if (match := _ACCEPTED.fullmatch(part))
    }
    return weights.get("gzip", weights.get("*", 0)) > 0


def _is_known(etag: str, header: str) -> bool:
    """Whether an `If-None-Match` (RFC 9110 §13.1.2) names the ETag."""
    known = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return bool(known & {etag, "*"})
