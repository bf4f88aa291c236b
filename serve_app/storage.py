"""Audio files in and out: users' recordings and finished songs, under one fsspec URI.

Every job has one folder: recordings that came with it, and a folder for the songs of each attempt.
All methods block; callers on an event loop use threads. All raise StorageError where the storage fails.
"""

import io
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from configs.settings import state_path
from deployments.common.audio_formats import extension
from deployments.common.errors import StorageError
from deployments.common.stored_files import located, new_stored_file, storage_errors, stored_file

BLOCK_BYTES = 1 << 20
"""An object store gets a request for each block that is read."""
SIGN_INS = ".stores"
"""The folder in which each job store that uses a storage has a file."""
_STORE = re.compile(r"[0-9a-f]{12}")
_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class AudioStorage:
    """The audio files of all jobs. `uri` is a path or an fsspec URI such as `s3://bucket/folder`."""

    def __init__(self, uri: str) -> None:
        """Raises ImportError where the package for the URI's protocol is not installed."""
        if "://" not in uri:
            uri = str(state_path(Path(uri)))
        self._root = uri.rstrip("/")
        located(self._root)

    def recording_uri(self, job_id: str, name: str) -> str:
        """Where a recording that came with a job is kept; `name` is "source" or "reference"."""
        return f"{self._root}/{job_id}/{name}"

    def result_uri(self, job_id: str, attempt: int, index: int, audio_format: str) -> str:
        """Where one attempt writes the song of batch item `index`."""
        return f"{self._root}/{job_id}/{attempt}/{index}.{extension(audio_format)}"

    def write(self, uri: str, file: BinaryIO) -> None:
        """Copy a file, from its beginning, to `uri`, where it appears whole or not at all."""
        file.seek(0)
        with storage_errors(), new_stored_file(uri) as stored:
            shutil.copyfileobj(file, stored, BLOCK_BYTES)

    def size(self, uri: str) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        file_system, path = located(uri)
        with storage_errors(FileNotFoundError):
            return int(file_system.info(path)["size"])

    def open(self, uri: str) -> BinaryIO:
        """A seekable file to read from, a copy where the storage is elsewhere. Raises FileNotFoundError."""
        with storage_errors(FileNotFoundError), stored_file(uri) as path:
            return path.open("rb")  # and stays readable when the copy has lost its name

    def read(self, uri: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) of a file, in blocks. Raises FileNotFoundError."""
        file_system, path = located(uri)
        with storage_errors(FileNotFoundError), file_system.open(path, "rb", cache_type="none") as file:
            file.seek(start)
            while start < stop and (block := file.read(min(BLOCK_BYTES, stop - start))):
                start += len(block)
                yield block

    def signed_url(self, uri: str, seconds: int, media_type: str, name: str) -> str:
        """A URL of S3 itself, at which everybody can fetch a file for some seconds, by name and media type.

        Nobody is asked whether the file is there.
        """
        file_system, path = located(uri)
        with storage_errors():
            url: str = file_system.sign(
                path,
                expiration=seconds,
                ResponseContentType=media_type,
                ResponseContentDisposition=disposition(name),
            )
        return url

    def delete_job(self, job_id: str) -> None:
        """Delete all files of a job, if there are any."""
        _delete(*located(f"{self._root}/{job_id}"))

    def delete_attempt(self, job_id: str, attempt: int) -> None:
        """Delete the songs of one attempt, if there are any."""
        _delete(*located(f"{self._root}/{job_id}/{attempt}"))

    def delete_all_but(self, job_id: str, uris: Collection[str]) -> None:
        """Delete the files of a job that are not among `uris`."""
        file_system, folder = located(f"{self._root}/{job_id}")
        kept = {located(uri)[1] for uri in uris}
        for path in _entries(file_system, folder):
            if path in kept:
                continue
            if not any(file.startswith(f"{path}/") for file in kept):
                _delete(file_system, path)
                continue
            for inner in _entries(file_system, path):
                if inner not in kept:
                    _delete(file_system, inner)

    def job_ids(self) -> list[str]:
        """Of all folders whose names look like a job's id: nothing else in the storage is ever touched."""
        file_system, root = located(self._root)
        names = (path.rpartition("/")[2] for path in _entries(file_system, root))
        return [name for name in names if _JOB_ID.fullmatch(name)]

    def sign_in(self, store: str, note: bytes) -> None:
        """Say that a job store uses this storage, and keep a note of its own."""
        self.write(f"{self._root}/{SIGN_INS}/{store}", io.BytesIO(note))

    def sign_out(self, store: str) -> None:
        """Take a sign-in back."""
        _delete(*located(f"{self._root}/{SIGN_INS}/{store}"))

    def note_of(self, store: str) -> bytes | None:
        """What a job store noted when it signed in; None where it never did."""
        file_system, path = located(f"{self._root}/{SIGN_INS}/{store}")
        try:
            with storage_errors(FileNotFoundError):
                return bytes(file_system.cat_file(path))
        except FileNotFoundError:
            return None

    def sign_ins(self) -> dict[str, float]:
        """When each job store signed in last, in epoch seconds of the storage's own clock."""
        file_system, folder = located(f"{self._root}/{SIGN_INS}")
        found = {}
        for path in _entries(file_system, folder):
            with suppress(FileNotFoundError), storage_errors(FileNotFoundError):
                found[path.rpartition("/")[2]] = float(file_system.modified(path).timestamp())
        return {name: at for name, at in found.items() if _STORE.fullmatch(name)}


def disposition(name: str) -> str:
    """The header `Content-Disposition`: a browser plays the file, and saves it as `name`."""
    return f'inline; filename="{name}"'


def _entries(file_system: Any, folder: str) -> list[str]:
    """Paths of what a folder holds; none where it does not exist."""
    try:
        with storage_errors(FileNotFoundError):
            found = file_system.ls(folder, detail=False)
    except FileNotFoundError:
        return []
    return [path.rstrip("/") for path in found]


def _delete(file_system: Any, path: str) -> None:
    """Delete a file or a folder, if it is there."""
    with storage_errors():
        with suppress(FileNotFoundError):
            file_system.rm(path, recursive=True)
        # S3 answers a deletion of several files with success also where it refused some.
        if left := file_system.find(path):
            raise StorageError(f"{len(left)} files could not be deleted")
