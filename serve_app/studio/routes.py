"""`GET /` and `GET /studio/{version}/{path}`: the studio, the page on which one makes music with this server.

The files say nothing about users and need no API key; the page asks for one where the API does.
"""

import re
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from serve_app.studio.files import PAGE, Encoded, StudioFile, studio_in
from serve_app.studio.policy import page_headers

ASK_AGAIN = "no-cache"
"""Browsers keep the page, and ask by its ETag each time: after an upgrade it names the new files."""
KEEP = "public, max-age=31536000, immutable"
"""Browsers keep a file without asking again, because its address has the version of the studio."""
_ACCEPTED = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?", re.IGNORECASE)


def studio_router(song_origin: Callable[[], Awaitable[str | None]] | None = None) -> APIRouter:
    """The routes of all files.

    `song_origin` finds the origin to which the server redirects downloads of songs; None where it does not.
    """
    router = APIRouter(include_in_schema=False)
    studio = studio_in()

    async def answer(request: Request, file: StudioFile, caching: str) -> Response:
        security = page_headers(await song_origin() if song_origin else None)
        return _response(request, file, {**security, "cache-control": caching})

    @router.head("/")
    @router.get("/")
    async def page(request: Request) -> Response:
        return await answer(request, studio.files[PAGE], ASK_AGAIN)

    @router.head("/studio/{path:path}")
    @router.get("/studio/{path:path}")
    async def file(request: Request, path: str) -> Response:
        version, _, name = path.partition("/")
        if name not in studio.files or name == PAGE:
            raise HTTPException(404, "The studio has no such file")
        # During an upgrade a replica is asked for files of the other version, and sends what it has.
        return await answer(request, studio.files[name], KEEP if version == studio.version else ASK_AGAIN)

    return router


def _response(request: Request, file: StudioFile, common: Mapping[str, str]) -> Response:
    compressed = file.compressed if _accepts_gzip(request.headers.get("accept-encoding", "")) else None
    sent: Encoded = compressed or file.plain
    headers = {
        **common,
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
