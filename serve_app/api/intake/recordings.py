"""Source and reference recordings: found, opened and decoded once, before a job is accepted.

An upload takes precedence over the `_path` field of the same name. Paths are allowed only inside the server's
audio folders, and the error for a path outside them never tells whether it exists.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from serve_app.api.access.callers import Caller
from serve_app.api.results import result_file, song_codes
from serve_app.api.service import JobService
from serve_app.api.threads import WorkerPools
from serve_app.recordings.decoder import DecodedRecording, RecordingDecoder
from serve_app.recordings.errors import RecordingError
from serve_app.request.errors import invalid
from serve_app.request.resolve import takes_silence
from serve_app.request.schemas import GenerateRequest
from serve_app.storage import AudioStorage

RESULT_PATH = re.compile(r"/v1/audio/([^/]+)/([^/.]+)\.([^/.?]+)(?:\?token=[\w.-]*)?")
"""The token of a signed URL is accepted and ignored; the caller's own permissions count."""


@dataclass(frozen=True)
class OpenRecordings:
    """The recordings of a request, decoded. Only a source may be silent, where the request allows it."""

    source: DecodedRecording | None = None
    reference: DecodedRecording | None = None
    source_codes: tuple[int, ...] = ()
    """The codes from which this server made the source, if it is a song of this server."""


class RecordingFinder:
    """Opens and decodes the recordings of requests."""

    def __init__(
        self,
        service: JobService,
        storage: AudioStorage,
        decoder: RecordingDecoder,
        roots: tuple[Path, ...],
        max_seconds: float,
        pools: WorkerPools,
    ) -> None:
        self._service = service
        self._storage = storage
        self._decoder = decoder
        self._roots = roots
        self._max_seconds = max_seconds
        self._pool = pools.recordings

    @asynccontextmanager
    async def open(
        self, request: GenerateRequest, uploads: Mapping[str, BinaryIO], caller: Caller
    ) -> AsyncIterator[OpenRecordings]:
        """The recordings of a caller's request, open until the end of the block.

        Raises RequestValidationError for a path that may not be read, and for a file that is no audio, silent
        or too long.
        """
        source_codes: tuple[int, ...] = ()
        with ExitStack() as cleanup:

            async def opened(
                field: str, path: str | None, may_be_silent: bool = False
            ) -> DecodedRecording | None:
                nonlocal source_codes
                if (upload := uploads.get(field)) is not None:
                    decoded = await self._decoded(field, upload, may_be_silent)
                elif path is not None:
                    found, codes = await self._open_path(f"{field}_path", path, caller)
                    with found as file:
                        decoded = await self._decoded(f"{field}_path", file, may_be_silent)
                    if field == "src_audio":
                        source_codes = codes
                else:
                    return None
                cleanup.enter_context(decoded.file)
                return decoded

            source = await opened("src_audio", request.src_audio_path, takes_silence(request))
            reference = await opened("reference_audio", request.reference_audio_path)
            yield OpenRecordings(source, reference, source_codes)

    async def _open_path(self, field: str, path: str, caller: Caller) -> tuple[BinaryIO, tuple[int, ...]]:
        """The file, and its codes if it is a song of this server."""
        if match := RESULT_PATH.fullmatch(path):
            job_id, index, extension = match.groups()
            view = await self._service.view(job_id)
            if view and caller.may_see(view) and (result := result_file(view, index, extension)):
                try:
                    file = await self._pool.run(self._storage.open, result.uri)
                    return file, song_codes(view, index)
                except FileNotFoundError:
                    pass
            raise invalid(field, "This server has no such result")
        return await self._pool.run(_open_inside, self._roots, field, path), ()

    async def _decoded(self, field: str, file: BinaryIO, may_be_silent: bool) -> DecodedRecording:
        try:
            decoded = await self._decoder.decode(file, self._max_seconds)
        except RecordingError as error:
            raise invalid(field, f"The file {error}", "audio_file") from error
        if decoded.silent and not may_be_silent:
            decoded.file.close()
            raise invalid(field, "The file is silent", "audio_file")
        return decoded


def _open_inside(roots: tuple[Path, ...], field: str, path: str) -> BinaryIO:
    """Open a file in one of the folders. Raises RequestValidationError."""
    # Paths outside the folders are not accessed, so that timing does not reveal whether they exist.
    named = Path(path)
    resolved_roots = [root.resolve() for root in roots]
    if ".." not in named.parts and any(named.is_relative_to(root) for root in (*roots, *resolved_roots)):
        try:
            resolved = named.resolve()
            if any(resolved.is_relative_to(root) for root in resolved_roots):
                if resolved.is_file():
                    return resolved.open("rb")
                raise invalid(field, "There is no such file in the server's audio folders")
        except (OSError, RuntimeError) as error:  # too long, unreadable, or a loop of symbolic links
            raise invalid(field, "The file cannot be read") from error
    raise invalid(
        field,
        "Input should be an absolute path inside one of the server's audio folders, "
        "or a result of this server (/v1/audio/...)",
    )
