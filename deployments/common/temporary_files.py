"""The folder of temporary files, which holds arriving uploads and copies of files from an object store."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.common.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def temporary_files() -> Iterator[None]:
    """Raise a StorageError that names the folder of temporary files if it is full in this block.

    Other exceptions are raised unchanged.
    """
    folder = temporary_folder()
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageError(
            f"the folder of temporary files, {folder}, is full: free space there, or name another in TMPDIR"
        ) from error


def temporary_folder() -> str:
    """The folder of temporary files. Raises StorageError if there is no usable folder."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise StorageError(f"{error}: free space there, or name another folder in TMPDIR") from error
