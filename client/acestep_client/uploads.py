"""Recordings that are sent with a request: paths, bytes, file objects, and songs that the server has."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from acestep_client.songs import AnySong

Upload: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | AnySong
"""A path on this machine, the content of a file, a file that is open for reading, or a song of the server.

A song may also be given by its path on the server (`/v1/audio/…`). Open files are sent from where they are.
"""
SONGS = "/v1/audio/"


def path_on_server(upload: Upload) -> str | None:
    """Return the path of a song that the server has already; None for what must be sent."""
    if isinstance(upload, AnySong):
        return upload.path
    return upload if isinstance(upload, str) and upload.startswith(SONGS) else None


class Recording:
    """The content of an upload, which can be read several times because a request may be repeated."""

    def __init__(self, upload: Upload) -> None:
        """Raises TypeError for an object that is no upload, and OSError for a file that cannot be read."""
        self._path: Path | None = None
        self._content: bytes | BinaryIO
        if isinstance(upload, bytes | bytearray | memoryview):
            self._content = bytes(upload)
        elif isinstance(upload, str | os.PathLike):
            self._path = Path(upload)
            self._path.open("rb").close()  # a missing file is told before anything is sent
        elif isinstance(upload, AnySong) or not hasattr(upload, "read"):
            raise TypeError(f"a recording is a path, bytes or an open file, not {type(upload).__name__}")
        else:
            self._content = _rewindable(upload)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the content at its beginning. Files of the caller stay open afterwards."""
        if self._path is not None:
            with self._path.open("rb") as file:
                yield file
        elif isinstance(self._content, bytes):
            yield io.BytesIO(self._content)
        else:
            self._content.seek(0)
            yield self._content


def _rewindable(file: Any) -> bytes | BinaryIO:
    """The file itself where all of it is to be sent and it can be rewound; else what is left of it."""
    if not isinstance(file.read(0), bytes):
        raise TypeError("a recording must be opened in binary mode")
    try:
        if file.seekable() and file.tell() == 0:
            return cast(BinaryIO, file)
    except (AttributeError, OSError):
        pass
    return cast(bytes, file.read())
