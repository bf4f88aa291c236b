"""A program that runs beside a benchmark, in a process of its own, until its standard input ends."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select

NICENESS = 19
SESSION_NICENESS = Path("/proc/self/autogroup")


@dataclass
class Helper:
    """The running program."""

    process: "subprocess.Popen[str]"
    told: str = ""
    """The rest of its output, which is complete when the program has ended."""

    def line(self, seconds: float) -> str:
        """Return the next line that it prints; empty where none comes within `seconds`, or it has ended.

        A helper prints a line only when the one before was waited for, so no line can be in a buffer already.
        """
        assert self.process.stdout is not None
        ready, _, _ = select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline().strip() if ready else ""


@contextmanager
def helper(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Helper]:
    """Run a module beside the block, and wait for its end after it.

    Raises RuntimeError where the module failed; its traceback is on standard error.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the kernel shares the cores among sessions first, then within each
        env=environment,
    )
    running = Helper(process)
    try:
        yield running
    finally:
        running.told, _ = process.communicate("")
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}")


def when_told_to_end(act: Callable[[], object]) -> None:
    """Call `act`, on another thread, as soon as the standard input of this process has ended."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1 << 12):  # `sys.stdin.read` would hold a lock that an exit needs
            pass
        act()

    threading.Thread(target=wait, daemon=True).start()


def give_way() -> None:
    """Let every other process go first, so that what this one takes of the machine costs the server nothing.

    Where the kernel groups processes by their session, a niceness counts within the session alone, so the
    session gets one too.
    """
    os.nice(NICENESS)
    with suppress(OSError):  # the kernel groups nothing
        SESSION_NICENESS.write_text(str(NICENESS))
