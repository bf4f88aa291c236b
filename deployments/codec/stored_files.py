"""Files in the audio storage, which is any file system that fsspec knows: a local folder, s3://…, gs://…"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.config import conf
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from deployments.errors import StorageError


def located(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path on it.

    It keeps no listings, because other processes write and delete files, too. Credentials and endpoints come
    from the environment (`AWS_...`, `FSSPEC_...`).
    """
    options = _s3_options() if uri.startswith("s3://") else {}
    file_system, path = url_to_fs(uri, use_listings_cache=False, **options)
    return file_system, path


def _s3_options() -> dict[str, Any]:
    configured = conf.get("s3", {})
    client = {
        # For URLs botocore's default is version 2, which many S3 stores and encrypted buckets refuse.
        "signature_version": "s3v4",
        # Three attempts; botocore's default takes ten seconds to find that nobody answers.
        "retries": {"mode": "standard"},
    }
    # So much of a large file is in memory at once, as often as the concurrency says.
    transfer = {"default_block_size": 16 << 20, "max_concurrency": 4}
    return {**transfer, **configured, "config_kwargs": {**client, **configured.get("config_kwargs", {})}}


@contextmanager
def storage_errors(*passed: type[Exception]) -> Iterator[None]:
    """Around calls of a file system: whatever they raise, in whichever library, becomes a StorageError.

    Exceptions in `passed` stay what they are.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (StorageError, *passed)):
            raise
        raise StorageError(f"{type(error).__name__}: {error}") from error


@contextmanager
def stored_file(uri: str) -> Iterator[Path]:
    """A stored file as a local one, which is a copy where the storage is elsewhere.

    Raises FileNotFoundError and StorageError.
    """
    storage, path = located(uri)
    if isinstance(storage, LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(path).name
        with storage_errors(FileNotFoundError):
            storage.get_file(path, str(copy))
        yield copy


@contextmanager
def new_stored_file(uri: str) -> Iterator[BinaryIO]:
    """A file to write that appears at `uri` whole, when the block ends, or not at all.

    A local one is written beside its place and renamed; object stores show an upload when it is complete.
    Raises StorageError.
    """
    storage, path = located(uri)
    local = isinstance(storage, LocalFileSystem)
    if local:
        with storage_errors():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    aside_in = Path(path).parent if local else None
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=aside_in) as folder:
        aside = Path(folder) / Path(path).name
        with aside.open("wb+") as file:
            yield file
        with storage_errors():
            if local:
                aside.replace(path)
            else:
                # Not `storage.open`: leaving its block because of an error would complete the upload.
                storage.put_file(str(aside), path)
