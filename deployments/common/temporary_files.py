"""The folder of temporary files. It holds arriving uploads and copies of files in an object store."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.common.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def temporary_files() -> Iterator[None]:
    """Around what makes or writes temporary files: where their folder is full, a StorageError names it.

    Other exceptions stay what they are.
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
    """Where temporary files lie. Raises StorageError where no folder can hold any."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise StorageError(f"{error}: free space there, or name another folder in TMPDIR") from error
