"""The cores of one machine, shared among the engines that are at work on it.

An engine alone computes with all cores, and beside others with its share: teams of threads on the same cores
wait for each other at the end of every operation, and two engines at once take several times as long as one
after the other. Who is at work is told by locks on files, which the kernel takes from processes that die.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from deployments.common.processor import core_count

_MOST_ENGINES = 16
"""That are told apart; more at once are rare, and their shares small anyway."""


class Share(Protocol):
    """An engine calls `work` before each forward, on the thread that does it, and `rest` after the last."""

    @property
    def cores(self) -> int:
        """Those that were the engine's when it last went to work; it may have as many forwards at once."""

    def work(self, beside: int = 0) -> None:
        """On all cores but those of the forwards `beside` this one."""

    def work_beside(self) -> None:
        """On one core, beside the engine's other forwards."""

    def rest(self) -> None: ...


class FixedShare:
    """Of an engine with a number of threads of its own, or on a GPU: one forward at a time."""

    cores = 1

    def work(self, beside: int = 0) -> None: ...

    def work_beside(self) -> None: ...

    def rest(self) -> None: ...


class ProcessorShare:
    """Of one engine among all that use the files in `folder`."""

    def __init__(self, folder: Path, cores: int, use_threads: Callable[[int], object]) -> None:
        """`use_threads` sets the threads of the next forward. Raises PermissionError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.lstat().st_uid != os.getuid():  # not of what a link of somebody else's leads to
            raise PermissionError(f"{folder}, where engines share the cores, belongs to another user")
        self._places = [(folder / str(place)).open("a") for place in range(min(cores, _MOST_ENGINES))]
        self._all_cores = cores
        self.cores = 1
        self._use_threads = use_threads
        self._mine: IO[str] | None = None

    def work(self, beside: int = 0) -> None:
        others = 0
        for place in self._places:
            if place is self._mine:
                continue
            if not _locked(place):
                others += 1
            elif self._mine is None:
                self._mine = place
            else:
                fcntl.flock(place, fcntl.LOCK_UN)
        self.cores = max(1, self._all_cores // (1 + others))
        self._use_threads(max(1, self.cores - beside))

    def work_beside(self) -> None:
        self._use_threads(1)

    def rest(self) -> None:
        if self._mine is not None:
            fcntl.flock(self._mine, fcntl.LOCK_UN)
            self._mine = None


def _locked(place: IO[str]) -> bool:
    """Whether nobody had it, so that it is locked now."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share_of(device: str, threads: int | None) -> Share:
    """Of an engine on `device` with `threads`; None is its share of the cores that the process may use."""
    import torch

    if device != "cpu" or threads is not None:
        return FixedShare()
    folder = Path(tempfile.gettempdir(), f"acestep-serve-{os.getuid()}")
    # Not `torch.set_num_threads`, in whose place vLLM puts a function that does nothing.
    return ProcessorShare(folder, core_count(), torch._C.set_num_threads)
