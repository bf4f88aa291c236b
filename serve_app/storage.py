"""Storage of audio files, users' recordings and finished songs, under one fsspec URI.

Every job has one folder. It holds the recordings that were submitted with the job, and one folder for the
songs of each attempt. All methods block, so callers on an event loop use threads. All raise StorageError
where the storage fails.
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
"""Bytes per read. An object store gets one request per block."""
SIGN_INS = ".stores"
"""The folder with one file for each job store that uses the storage."""
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
        """The URI of a recording that was submitted with a job; `name` is "source" or "reference"."""
        return f"{self._root}/{job_id}/{name}"

    def result_uri(self, job_id: str, attempt: int, index: int, audio_format: str) -> str:
        """The URI to which an attempt writes the song of item `index`."""
        return f"{self._root}/{job_id}/{attempt}/{index}.{extension(audio_format)}"

    def write(self, uri: str, file: BinaryIO) -> None:
        """Copy a file, from its beginning, to `uri`. The write is atomic."""
        file.seek(0)
        with storage_errors(), new_stored_file(uri) as stored:
            shutil.copyfileobj(file, stored, BLOCK_BYTES)

    def size(self, uri: str) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        file_system, path = located(uri)
        with storage_errors(FileNotFoundError):
            return int(file_system.info(path)["size"])

    def open(self, uri: str) -> BinaryIO:
        """A seekable file for reading; a local copy for remote storages. Raises FileNotFoundError."""
        with storage_errors(FileNotFoundError), stored_file(uri) as path:
            return path.open("rb")  # stays readable when the temporary copy is unlinked

    def read(self, uri: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) of a file, in blocks. Raises FileNotFoundError."""
        file_system, path = located(uri)
        with storage_errors(FileNotFoundError), file_system.open(path, "rb", cache_type="none") as file:
            file.seek(start)
            while start < stop and (block := file.read(min(BLOCK_BYTES, stop - start))):
                start += len(block)
                yield block

    def signed_url(self, uri: str, seconds: int, media_type: str, name: str) -> str:
        """A presigned S3 URL that serves a file with a name and media type for `seconds` without credentials.

        The existence of the file is not checked.
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
        """Ids of all folders whose name is a job id. Nothing else in the storage is ever touched."""
        file_system, root = located(self._root)
        names = (path.rpartition("/")[2] for path in _entries(file_system, root))
        return [name for name in names if _JOB_ID.fullmatch(name)]

    def sign_in(self, store: str, note: bytes) -> None:
        """Record that a job store uses this storage, together with a note that the store gives."""
        self.write(f"{self._root}/{SIGN_INS}/{store}", io.BytesIO(note))

    def sign_out(self, store: str) -> None:
        """Delete the record of a job store."""
        _delete(*located(f"{self._root}/{SIGN_INS}/{store}"))

    def note_of(self, store: str) -> bytes | None:
        """The note that a job store gave when it signed in; None where it never did."""
        file_system, path = located(f"{self._root}/{SIGN_INS}/{store}")
        try:
            with storage_errors(FileNotFoundError):
                return bytes(file_system.cat_file(path))
        except FileNotFoundError:
            return None

    def sign_ins(self) -> dict[str, float]:
        """Time of each job store's last sign-in, in epoch seconds of the storage's clock."""
        file_system, folder = located(f"{self._root}/{SIGN_INS}")
        found = {}
        for path in _entries(file_system, folder):
            with suppress(FileNotFoundError), storage_errors(FileNotFoundError):
                found[path.rpartition("/")[2]] = float(file_system.modified(path).timestamp())
        return {name: at for name, at in found.items() if _STORE.fullmatch(name)}


def disposition(name: str) -> str:
    """The value of `Content-Disposition` with which a browser plays the file and saves it as `name`."""
    return f'inline; filename="{name}"'


def _entries(file_system: Any, folder: str) -> list[str]:
    """Paths in a folder; empty where the folder does not exist."""
    try:
        with storage_errors(FileNotFoundError):
            found = file_system.ls(folder, detail=False)
    except FileNotFoundError:
        return []
    return [path.rstrip("/") for path in found]


def _delete(file_system: Any, path: str) -> None:
    """Delete a file or a folder if it exists. Raises StorageError where files are left."""
    with storage_errors():
        with suppress(FileNotFoundError):
            file_system.rm(path, recursive=True)
        # S3 reports success for a bulk deletion even where it refused some of the files.
        if left := file_system.find(path):
            raise StorageError(f"{len(left)} files could not be deleted")
