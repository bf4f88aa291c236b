"""The process that decodes one recording, a fork of the fork server: sets its limits, converts and reports.

Its standard input is the recording, and its standard output a file for the report: one line of JSON with the
limits that this system does not support, and one line with the outcome. The process has no environment and no
other descriptors, and while it decodes it cannot open files or connections.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from typing import Any, NoReturn

from serve_app.recordings.conversion import convert
from serve_app.recordings.errors import RecordingError
from serve_app.recordings.protocol import NO_MEMORY, SURPRISE, Task

_STDIN, _STDOUT, _STDERR = range(3)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def run(task: Task, parent: int, recording: int, output: int, report: int) -> NoReturn:
    """Convert the recording and end the process.

    `parent` is the process id of the fork server, with which this process must end; the others are
    descriptors of open files.
    """
    os.dup2(recording, _STDIN)
    os.dup2(report, _STDOUT)
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDERR)  # libraries write to it
    last, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.closerange(_STDERR + 1, output)
    os.closerange(output + 1, last)
    missing = [
        *_limit("core dumps", "RLIMIT_CORE", 0),
        *_limit("memory", "RLIMIT_AS", task.memory_bytes),
        *_limit("processor time", "RLIMIT_CPU", task.cpu_seconds, at_most=task.cpu_seconds + 1),
        *_limit("file sizes", "RLIMIT_FSIZE", task.file_bytes),
        *_tie_to(parent),
    ]
    written = os.fdopen(output, "r+b")
    missing += [*_limit("open files", "RLIMIT_NOFILE", 0), *_limit("processes", "RLIMIT_NPROC", 0)]
    _say(missing)
    try:
        _say({"converted": asdict(convert(_STDIN, written, task.max_seconds))})
    except RecordingError as error:
        _say({"refused": str(error)})
    except MemoryError:
        _say({NO_MEMORY: True})
    except OSError as error:
        _say({"failed": f"{type(error).__name__}: {error.strerror}"})
    except Exception as error:
        _say({SURPRISE: type(error).__name__})
    os._exit(0)  # no clean-up is needed


def _say(what: Any) -> None:
    os.write(_STDOUT, json.dumps(what).encode() + b"\n")


def _limit(what: str, name: str, value: int, at_most: int | None = None) -> list[str]:
    """Set a limit permanently. Returns [what] where the system does not support it.

    For processor time, the process gets SIGXCPU at `value` and SIGKILL at `at_most`.
    """
    try:
        resource.setrlimit(getattr(resource, name), (value, value if at_most is None else at_most))
    except (AttributeError, ValueError, OSError):
        return [what]
    return []


def _tie_to(parent: int) -> list[str]:
    """Make the kernel kill this process when its parent ends, and forbid new privileges."""
    if sys.platform != "linux":
        return ["new privileges"]
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent has ended already
        os._exit(0)
    return [] if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 else ["new privileges"]
