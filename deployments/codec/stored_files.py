"""Files in the audio storage, which is any file system that fsspec knows: a local folder, s3://…, gs://…"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem


@contextmanager
def stored_file(uri: str) -> Iterator[Path]:
    """A stored file as a local one, which is a copy where the storage is elsewhere.

    Raises FileNotFoundError.
    """
    storage, path = url_to_fs(uri)
    if isinstance(storage, LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(path).name
        storage.get_file(path, str(copy))
        yield copy


@contextmanager
def new_stored_file(uri: str) -> Iterator[BinaryIO]:
    """A file to write that appears at `uri` whole, when the block ends, or not at all.

    A local one is written beside its place and renamed; object stores show an upload when it is complete.
    """
    storage, path = url_to_fs(uri)
    local = isinstance(storage, LocalFileSystem)
    if local:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    aside_in = Path(path).parent if local else None
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=aside_in) as folder:
        aside = Path(folder) / Path(path).name
        with aside.open("wb+") as file:
            yield file
        if local:
            aside.replace(path)
        else:
            storage.put_file(str(aside), path)
