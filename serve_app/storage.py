"""Audio files in and out: users' recordings and finished songs, under one fsspec URI.

Every job has one folder: recordings that came with it, and a folder for the songs of each attempt.
All methods block; callers on an event loop use threads.
"""

import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.core import url_to_fs

from configs.settings import PROJECT_ROOT
from deployments.codec.formats import extension
from deployments.codec.stored_files import new_stored_file

BLOCK_BYTES = 256 * 1024
_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
        _delete(f"{self._root}/{job_id}")

    def delete_attempt(self, job_id: str, attempt: int) -> None:
        """Delete the songs of one attempt, if there are any."""
        _delete(f"{self._root}/{job_id}/{attempt}")

    def delete_all_but(self, job_id: str, uris: Collection[str]) -> None:
        """Delete the files of a job that are not among `uris`."""
        file_system, folder = _located(f"{self._root}/{job_id}")
        kept = {_located(uri)[1] for uri in uris}
        for path in _entries(file_system, folder):
            if path in kept:
                continue
            if not any(file.startswith(f"{path}/") for file in kept):
                file_system.rm(path, recursive=True)
                continue
            for inner in _entries(file_system, path):
                if inner not in kept:
                    file_system.rm(inner, recursive=True)

    def job_ids(self) -> list[str]:
        """Of all folders whose names look like a job's id: nothing else in the storage is ever touched."""
        file_system, root = _located(self._root)
        names = (path.rpartition("/")[2] for path in _entries(file_system, root))
        return [name for name in names if _JOB_ID.fullmatch(name)]

    def last_change(self, job_id: str) -> float:
        """When a file was last written in a job's folder, in epoch seconds. Raises FileNotFoundError."""
        file_system, folder = _located(f"{self._root}/{job_id}")
        # Object stores have no folders, but then no empty ones either.
        paths = file_system.find(folder) or [folder]
        return max(float(file_system.modified(path).timestamp()) for path in paths)


def _located(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path on it."""
    file_system, path = url_to_fs(uri)
    return file_system, path


def _entries(file_system: Any, folder: str) -> list[str]:
    """Paths of what a folder holds; none where it does not exist."""
    try:
        found = file_system.ls(folder, detail=False, refresh=True)
    except FileNotFoundError:
        return []
    return [path.rstrip("/") for path in found]


def _delete(uri: str) -> None:
    file_system, path = _located(uri)
    with suppress(FileNotFoundError):
        file_system.rm(path, recursive=True)
