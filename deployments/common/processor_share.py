"""The cores of one machine, shared among the engines that are at work on it.

An engine alone computes with all cores, and beside others with an equal share of them: teams of threads on
the same cores wait for each other at the end of every operation, and two engines at once would take several
times as long as one after the other. Engines that compute hold locks on files; the kernel releases the lock
of a process that dies.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from deployments.common.processor import core_count

_MAX_ENGINES = 16
"""At most 16 engines are counted; more at once are rare, and their shares are small anyway."""


class Share(Protocol):
    """An engine's part of the cores.

    The engine calls `set_threads` or `set_one_thread` before each forward, on the thread that computes it,
    and `release` after the last one.
    """

    @property
    def cores(self) -> int:
        """The engine's cores at the last `set_threads`. It may run as many forwards at once."""

    def set_threads(self, beside: int = 0) -> None:
        """Count the engines that compute, and use all of this engine's cores but `beside` of them.

        `beside` is the number of forwards that the engine runs on one core each at the same time.
        """

    def set_one_thread(self) -> None:
        """Use one core, for a forward beside another one of the engine."""

    def release(self) -> None:
        """Leave the cores to other engines until the next `set_threads`."""


class FixedShare:
    """The share of an engine on a GPU, or with a fixed number of threads: it runs one forward at a time."""

    cores = 1

    def set_threads(self, beside: int = 0) -> None: ...

    def set_one_thread(self) -> None: ...

    def release(self) -> None: ...


class ProcessorShare:
    """An equal share of the cores among all engines that use the lock files in `folder`."""

    def __init__(self, folder: Path, cores: int, use_threads: Callable[[int], object]) -> None:
        """`use_threads` sets the number of threads of the next forward. Raises PermissionError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.lstat().st_uid != os.getuid():  # of the link itself if it is one
            raise PermissionError(f"{folder}, where engines share the cores, belongs to another user")
        self._slots = [(folder / str(slot)).open("a") for slot in range(min(cores, _MAX_ENGINES))]
        self._all_cores = cores
        self.cores = 1
        self._use_threads = use_threads
        self._mine: IO[str] | None = None

    def set_threads(self, beside: int = 0) -> None:
        others = 0
        for slot in self._slots:
            if slot is self._mine:
                continue
            if not _locked(slot):
                others += 1
            elif self._mine is None:
                self._mine = slot
            else:
                fcntl.flock(slot, fcntl.LOCK_UN)
        self.cores = max(1, self._all_cores // (1 + others))
        self._use_threads(max(1, self.cores - beside))

    def set_one_thread(self) -> None:
        self._use_threads(1)

    def release(self) -> None:
        if self._mine is not None:
            fcntl.flock(self._mine, fcntl.LOCK_UN)
            self._mine = None


def _locked(slot: IO[str]) -> bool:
    """Lock the file `slot`; False if another engine holds it."""
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share_of(device: str, threads: int | None) -> Share:
    """The share of an engine on `device`.

    With `threads` it computes with that number of threads; None gives it a share of the process's cores.
    """
    import torch

    if device != "cpu" or threads is not None:
        return FixedShare()
    folder = Path(tempfile.gettempdir(), f"acestep-serve-{os.getuid()}")
    # `torch.set_num_threads` does nothing in vLLM's process, which replaces it.
    return ProcessorShare(folder, core_count(), torch._C.set_num_threads)
