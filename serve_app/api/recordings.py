"""Source and reference recordings: found, opened and heard once, before a job is accepted.

An upload beats the `_path` field of the same name. A path counts only inside the server's audio folders, and
what is wrong with one outside is never said.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deployments.codec.audio_files import AudioFileError, probe
from serve_app.api.callers import Caller
from serve_app.api.errors import invalid
from serve_app.api.results import result_file
from serve_app.api.schemas import GenerateRequest
from serve_app.api.service import JobService
from serve_app.api.threads import WorkerPools
from serve_app.storage import AudioStorage

_RESULT_PATH = re.compile(r"/v1/audio/([^/]+)/([^/.]+)\.([^/.?]+)(?:\?token=[\w.-]*)?")
"""The token of a signed URL may stay: whether the caller may use the song does not depend on it."""


@dataclass(frozen=True)
class OpenRecording:
    """A user's recording, open for reading and found to be audible."""

    file: BinaryIO
    seconds: float


@dataclass(frozen=True)
class OpenRecordings:
    """What came with a request."""

    source: OpenRecording | None = None
    reference: OpenRecording | None = None


class RecordingFinder:
    """Opens the recordings that requests name."""

    def __init__(
        self,
        service: JobService,
        storage: AudioStorage,
        roots: tuple[Path, ...],
        max_seconds: float,
        pools: WorkerPools,
    ) -> None:
        self._service = service
        self._storage = storage
        self._roots = roots
        self._max_seconds = max_seconds
        self._pool = pools.recordings

    @asynccontextmanager
    async def open(
        self, request: GenerateRequest, uploads: Mapping[str, BinaryIO], caller: Caller
    ) -> AsyncIterator[OpenRecordings]:
        """The recordings of a caller's request, open until the end of the block.

        Raises RequestValidationError for a path that may not be read, and for what is no audio, silent or
        too long.
        """
        with ExitStack() as cleanup:

            async def opened(field: str, path: str | None) -> OpenRecording | None:
                if (upload := uploads.get(field)) is not None:
                    return await self._heard(field, upload)
                if path is None:
                    return None
                file = cleanup.enter_context(await self._open_path(f"{field}_path", path, caller))
                return await self._heard(f"{field}_path", file)

            yield OpenRecordings(
                source=await opened("src_audio", request.src_audio_path),
                reference=await opened("reference_audio", request.reference_audio_path),
            )

    async def _open_path(self, field: str, path: str, caller: Caller) -> BinaryIO:
        if match := _RESULT_PATH.fullmatch(path):
            job_id, index, extension = match.groups()
            view = await self._service.view(job_id)
            if view and caller.may_see(view) and (result := result_file(view, index, extension)):
                try:
                    return await self._pool.run(self._storage.open, result.uri)
                except FileNotFoundError:
                    pass
            raise invalid(field, "This server has no such result")
        return await self._pool.run(_open_inside, self._roots, field, path)

    async def _heard(self, field: str, file: BinaryIO) -> OpenRecording:
        try:
            info = await self._pool.run(probe, file, self._max_seconds)
        except AudioFileError as error:
            raise invalid(field, f"The file {error}", "audio_file") from error
        if info.silent:
            raise invalid(field, "The file is silent", "audio_file")
        return OpenRecording(file, info.seconds)


def _open_inside(roots: tuple[Path, ...], field: str, path: str) -> BinaryIO:
    """Open a file in one of the folders. Raises RequestValidationError."""
    # Nothing outside the folders is looked at, so that not even the time it takes tells what is there.
    named = Path(path)
    resolved_roots = [root.resolve() for root in roots]
    if ".." not in named.parts and any(named.is_relative_to(root) for root in (*roots, *resolved_roots)):
        try:
            resolved = named.resolve()
            if any(resolved.is_relative_to(root) for root in resolved_roots):
                if resolved.is_file():
                    return resolved.open("rb")
                raise invalid(field, "There is no such file in the server's audio folders")
        except (OSError, RuntimeError) as error:  # too long, unreadable, a circle of links
            raise invalid(field, "The file cannot be read") from error
    raise invalid(
        field,
        "Input should be an absolute path inside one of the server's audio folders, "
        "or a result of this server (/v1/audio/...)",
    )
