"""The process that decodes one recording: it limits itself, converts the file, and says what came of it.

Its standard input is the recording and its standard output a file for the report: a line of JSON with the
limits that this system does not have, then a line with the outcome. It has no environment, no other
descriptors and, once it decodes, no way to get any: it can neither open a file nor connect to anything.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict, dataclass
from typing import Any

NO_MEMORY, SURPRISE = "memory", "surprise"
"""Outcomes besides "converted", "refused" (the file) and "failed" (the machine)."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


@dataclass(frozen=True)
class Task:
    """What the process is told on its command line, as JSON."""

    output: int
    """Descriptor of the file to write."""
    parent: int
    """The process that it must not outlive."""
    max_seconds: float
    """Of the recording."""
    memory_bytes: int
    """Of its address space."""
    cpu_seconds: int
    file_bytes: int
    """Of the file to write."""


def main(command_line: str) -> None:
    """Convert the recording of a Task. It ends the process."""
    task = Task(**json.loads(command_line))
    missing = [
        *_limit("core dumps", "RLIMIT_CORE", 0),
        *_limit("memory", "RLIMIT_AS", task.memory_bytes),
        *_limit("processor time", "RLIMIT_CPU", task.cpu_seconds, at_most=task.cpu_seconds + 1),
        *_limit("file sizes", "RLIMIT_FSIZE", task.file_bytes),
        *_tie_to(task.parent),
    ]
    # Everything that is imported has to be imported before no file can be opened any more.
    from serve_app.recordings.conversion import convert
    from serve_app.recordings.errors import RecordingError

    output = os.fdopen(task.output, "r+b")
    missing += [*_limit("open files", "RLIMIT_NOFILE", 0), *_limit("processes", "RLIMIT_NPROC", 0)]
    _say(missing)
    try:
        _say({"converted": asdict(convert(sys.stdin.fileno(), output, task.max_seconds))})
    except RecordingError as error:
        _say({"refused": str(error)})
    except MemoryError:
        _say({NO_MEMORY: True})
    except OSError as error:
        _say({"failed": f"{type(error).__name__}: {error.strerror}"})
    except Exception as error:
        _say({SURPRISE: type(error).__name__})
    os._exit(0)  # nothing is left to be tidied up


def _say(what: Any) -> None:
    os.write(sys.stdout.fileno(), json.dumps(what).encode() + b"\n")


def _limit(what: str, name: str, value: int, at_most: int | None = None) -> list[str]:
    """Set a limit for good; `what` is returned where the system does not have it, or will not set it.

    Processor time ends a process with SIGXCPU at `value`, and with SIGKILL, which says nothing, `at_most`.
    """
    try:
        resource.setrlimit(getattr(resource, name), (value, value if at_most is None else at_most))
    except (AttributeError, ValueError, OSError):
        return [what]
    return []


def _tie_to(parent: int) -> list[str]:
    """Let the kernel end this process with its parent, and give it no rights that it does not have."""
    if sys.platform != "linux":
        return ["its life to that of the server", "new privileges"]
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has died already
        os._exit(0)
    return [] if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 else ["new privileges"]
