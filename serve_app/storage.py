"""Audio files in and out: users' recordings and finished songs, under one fsspec URI.

Every job has one folder. All methods block; callers on an event loop use threads.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.core import url_to_fs

from configs.settings import PROJECT_ROOT
from deployments.codec.formats import extension
from deployments.codec.stored_files import new_stored_file

BLOCK_BYTES = 256 * 1024


class AudioStorage:
    """The audio files of all jobs. `uri` is a path or an fsspec URI such as `s3://bucket/folder`."""

    def __init__(self, uri: str) -> None:
        if "://" not in uri and not Path(uri).is_absolute():
            uri = str(PROJECT_ROOT / uri)
        self._root = uri.rstrip("/")

    def recording_uri(self, job_id: str, name: str) -> str:
        """Where a recording that came with a job is kept; `name` is "source" or "reference"."""
        return f"{self._root}/{job_id}/{name}"

    def result_uri(self, job_id: str, attempt: int, index: int, audio_format: str) -> str:
        """Where one attempt writes the song of batch item `index`."""
        return f"{self._root}/{job_id}/{attempt}/{index}.{extension(audio_format)}"

    def write(self, uri: str, file: BinaryIO) -> None:
        """Copy a file, from its beginning, to `uri`, where it appears whole or not at all."""
        file.seek(0)
        with new_stored_file(uri) as stored:
            shutil.copyfileobj(file, stored, BLOCK_BYTES)

    def size(self, uri: str) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        file_system, path = _located(uri)
        return int(file_system.info(path)["size"])

    def open(self, uri: str) -> BinaryIO:
        """A seekable file to read from. Raises FileNotFoundError."""
        file_system, path = _located(uri)
        file: BinaryIO = file_system.open(path, "rb")
        return file

    def read(self, uri: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) of a file, in blocks. Raises FileNotFoundError."""
        with self.open(uri) as file:
            file.seek(start)
            while start < stop and (block := file.read(min(BLOCK_BYTES, stop - start))):
                start += len(block)
                yield block

    def delete_job(self, job_id: str) -> None:
        """Delete all files of a job, if there are any."""
        file_system, folder = _located(f"{self._root}/{job_id}")
        if file_system.exists(folder):
            file_system.rm(folder, recursive=True)


def _located(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path on it."""
    file_system, path = url_to_fs(uri)
    return file_system, path
