"""The response to a download: a song or the part of it that `Range` asks for, with its `ETag`."""

import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.responses import RedirectResponse, Response

from deployments.common.audio_formats import FORMATS
from deployments.common.errors import StorageError
from serve_app.api.ranges import UnsatisfiableRangeError, byte_range
from serve_app.api.results import ResultFile, result_file
from serve_app.api.streams import SlotResponse
from serve_app.api.threads import WorkerPool
from serve_app.jobs.model import JobView
from serve_app.storage import AudioStorage, disposition

NO_SUCH_FILE = "Audio file not found"


class Downloads:
    """Sends songs from the storage."""

    def __init__(self, storage: AudioStorage, pool: WorkerPool) -> None:
        """`pool` runs the blocking calls to the storage."""
        self._storage = storage
        self._pool = pool
        self._redirect_origin: str | None = None

    async def redirect(self, view: JobView, index: str, extension: str, seconds: int) -> Response:
        """A redirect to the song in the storage. Raises HTTPException with 404."""
        result, _ = await self._found(view, index, extension)
        url = await self._pool.run(
            self._storage.signed_url, result.uri, seconds, result.media_type, result.name
        )
        return RedirectResponse(url, 302, {"cache-control": "no-store"})

    async def redirect_origin(self) -> str | None:
        """The origin that `redirect` leads to, for pages that have to name it; None while that is unknown."""
        if self._redirect_origin is None:
            uri = self._storage.result_uri("any", 0, 0, "mp3")
            with suppress(StorageError):
                url = urlsplit(await self._pool.run(self._storage.signed_url, uri, 1, "audio/mpeg", "any"))
                self._redirect_origin = f"{url.scheme}://{url.netloc}"
        return self._redirect_origin

    async def response(
        self,
        request: Request,
        view: JobView,
        index: str,
        extension: str,
        slot: AbstractContextManager[None],
    ) -> Response:
        """The song of a job, streamed. A GET holds the slot while it lasts.

        Raises HTTPException with 404 or 416.
        """
        result, size = await self._found(view, index, extension)
        part = _part(request, result, size)
        if request.method == "HEAD" or part.status == 304:
            return Response(status_code=part.status, headers=part.headers, media_type=result.media_type)
        blocks = self._blocks(self._storage.read(result.uri, part.start, part.stop))
        options: dict[str, Any] = {
            "status_code": part.status,
            "headers": part.headers,
            "media_type": result.media_type,
        }
        return SlotResponse(blocks, slot, **options)

    async def whole(self, view: JobView, index: int) -> tuple[ResultFile, bytes]:
        """A song and its content. Raises HTTPException with 404."""
        result, size = await self._found(view, str(index), FORMATS[view.audio_format].extension)
        blocks = self._storage.read(result.uri, 0, size)
        return result, await self._pool.run(lambda: b"".join(blocks))

    async def _found(self, view: JobView, index: str, extension: str) -> tuple[ResultFile, int]:
        """The file and its size in bytes."""
        result = result_file(view, index, extension)
        if result is None:
            raise HTTPException(404, NO_SUCH_FILE)
        try:
            return result, await self._pool.run(self._storage.size, result.uri)
        except FileNotFoundError as error:
            raise HTTPException(404, NO_SUCH_FILE) from error

    async def _blocks(self, blocks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The blocks of a file, each read on a thread of the pool."""
        while block := await self._pool.run(next, blocks, b""):
            yield block


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


def _etag(result: ResultFile, size: int) -> str:
    """The ETag. A finished file never changes, so its URI identifies it; the hash hides the URI."""
    return f'"{hashlib.sha256(f"{result.uri} {size}".encode()).hexdigest()[:32]}"'
