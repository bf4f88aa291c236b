"""Files in the audio storage, which is any file system that fsspec knows: a local folder, s3://…, gs://…"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory, TemporaryFile
from typing import Any, BinaryIO, cast

from fsspec.config import conf
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from deployments.common.errors import StorageError
from deployments.common.temporary_files import temporary_files, temporary_folder

_DESCRIPTORS = Path("/proc/self/fd")
_NO_FOLDER_SYNC = {errno.EACCES, errno.EBADF, errno.EINVAL}


def located(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path on it.

    The file system caches no listings, because other processes write and delete files, too. Credentials and
    endpoints come from the environment (`AWS_...`, `FSSPEC_...`).
    """
    options = _s3_options() if uri.startswith("s3://") else {}
    file_system, path = url_to_fs(uri, use_listings_cache=False, **options)
    return file_system, path


def _s3_options() -> dict[str, Any]:
    configured = conf.get("s3", {})
    client = {
        # botocore signs URLs with version 2 by default, which many S3 stores and encrypted buckets refuse.
        "signature_version": "s3v4",
        # Three attempts; with botocore's default it takes ten seconds to notice that nobody answers.
        "retries": {"mode": "standard"},
    }
    # A transfer of a large file holds up to `max_concurrency` blocks in memory.
    transfer = {"default_block_size": 16 << 20, "max_concurrency": 4}
    return {**transfer, **configured, "config_kwargs": {**client, **configured.get("config_kwargs", {})}}


@contextmanager
def storage_errors(*passed: type[Exception]) -> Iterator[None]:
    """Turn every exception that calls of a file system raise in the block into a StorageError.

    Exceptions of the types in `passed` are raised unchanged.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (StorageError, *passed)):
            raise
        raise StorageError(f"{type(error).__name__}: {error}") from error


@contextmanager
def stored_file(uri: str) -> Iterator[Path]:
    """The path of a local file with the content of a stored one: itself, or a copy if the storage is remote.

    Raises FileNotFoundError and StorageError.
    """
    storage, path = located(uri)
    if isinstance(storage, LocalFileSystem):
        yield Path(path)
        return
    with temporary_files(), _temporary_file() as (_, copy):
        with storage_errors(FileNotFoundError), temporary_files():
            storage.get_file(path, copy)
        yield Path(copy)


@contextmanager
def new_stored_file(uri: str) -> Iterator[BinaryIO]:
    """A file to write, which appears at `uri` complete and durable when the block ends, or not at all.

    Only the server's own user can read it. Raises StorageError, also instead of an OSError in the block.
    """
    storage, path = located(uri)
    if isinstance(storage, LocalFileSystem):
        with _file_errors(Path(path).parent), _new_local_file(Path(path)) as file:
            yield file
        return
    with _file_errors(temporary_folder()), temporary_files(), _temporary_file() as (file, file_path):
        yield file
        file.flush()
        with storage_errors():
            # Not `storage.open`: leaving its block because of an error would complete the upload.
            storage.put_file(file_path, path)


@contextmanager
def _new_local_file(path: Path) -> Iterator[BinaryIO]:
    """Write the file under another name and rename it when all of it is on the disk."""
    _make_folders(path.parent)
    with TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
        aside = Path(folder) / path.name
        with _private_file(aside) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    try:
        _sync(path.parent)
    except BaseException:
        path.unlink()
        raise


@contextmanager
def _file_errors(folder: Path | str) -> Iterator[None]:
    try:
        yield
    except (StorageError, InterruptedError):  # a cancelled job interrupts its writing
        raise
    except OSError as error:
        raise StorageError(f"{folder}: {error}") from error


@contextmanager
def _temporary_file() -> Iterator[tuple[BinaryIO, str]]:
    """A temporary file, and a path that opens it.

    On Linux the file has no name, so nothing of it stays when the process is killed.
    """
    if _DESCRIPTORS.is_dir():
        with TemporaryFile() as file:
            yield cast(BinaryIO, file), f"/proc/{os.getpid()}/fd/{file.fileno()}"
    else:
        with NamedTemporaryFile() as named:
            yield cast(BinaryIO, named), named.name


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents where they are missing; only the server's user can enter them."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
        _sync(new.parent)


def _private_file(path: Path) -> BinaryIO:
    """A new file to write and read, which only the server's user can open."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb+")


def _sync(folder: Path) -> None:
    """Flush the names in a folder to the disk.

    Some file systems cannot do this for folders; the errors ignored here are those that PostgreSQL ignores.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
