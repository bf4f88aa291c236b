"""A disk that fails at a chosen write or sync."""

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from deployments.common import stored_files

BUFFER_BYTES = 512
"""Size of a write. It is small, so that a short song also takes several writes."""


@dataclass
class Fault:
    """The write or sync that fails, counted from 1 over all files and folders.

    A `lasting` fault is a full disk, otherwise a bad sector.
    """

    at: int
    number: int = errno.ENOSPC
    lasting: bool = True
    writes: int = 0

    def next_write(self) -> None:
        self.writes += 1
        if self.writes == self.at or (self.lasting and self.writes > self.at):
            raise OSError(self.number, os.strerror(self.number))


FULL, BAD_SECTOR = (errno.ENOSPC, True), (errno.EIO, False)
KINDS = pytest.mark.parametrize(("number", "lasting"), [FULL, BAD_SECTOR], ids=["ENOSPC", "EIO"])


class _FaultyFile(io.FileIO):
    def __init__(self, fault: Fault, *arguments: Any, **keywords: Any) -> None:
        self._fault = fault
        super().__init__(*arguments, **keywords)

    def write(self, data: Any) -> int | None:
        self._fault.next_write()
        return super().write(data)


@contextmanager
def faulty_disk(fault: Fault) -> Iterator[Fault]:
    """Put the files of the audio storage, and temporary files on their way there, on this disk."""

    def private_file(path: Path) -> BinaryIO:
        return io.BufferedRandom(_FaultyFile(fault, path, "x+"), BUFFER_BYTES)

    make_temporary: Callable[[], Any] = stored_files.TemporaryFile

    def temporary_file() -> BinaryIO:
        with make_temporary() as made:
            return io.BufferedRandom(_FaultyFile(fault, os.dup(made.fileno()), "w+"), BUFFER_BYTES)

    sync = os.fsync

    def faulty_sync(descriptor: int) -> None:
        fault.next_write()
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", faulty_sync)
        patch.setattr(stored_files, "_private_file", private_file)
        patch.setattr(stored_files, "TemporaryFile", temporary_file)
        yield fault
