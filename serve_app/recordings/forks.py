"""The API's side of the fork server: starts the server, and has it fork processes.

`multiprocessing` also has a fork server. It is not used because it passes the environment of the API, which
contains secrets, to the processes that decode, and because it kills a process by an id that may be another
process's by then.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from serve_app.recordings.protocol import STATUS, Task

_PROJECT = Path(__file__).parents[2]
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from serve_app.recordings.fork_server import main
main()
"""
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""A process with threads must not fork, and threads would take address space."""
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Some builds of Python need these to find their own libraries."""
_KILL_SECONDS = 10.0
"""How long to wait for the end of a process that was killed."""


class ForkError(Exception):
    """A process was not forked, or its fork server has ended."""


class ForkServer:
    """The fork server of this process. Its methods may be called on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: socket.socket | None = None
        self._stop: Callable[[], object] | None = None

    def start(self) -> None:
        """Start the server where it does not run. It imports its modules meanwhile. Raises OSError."""
        with self._lock:
            if self._messages is None:
                self._begin()

    def close(self) -> None:
        """End the server and its forks; a later `fork` starts a new one."""
        with self._lock:
            self._end()

    def fork(self, task: Task, recording: BinaryIO, output: BinaryIO, report: BinaryIO) -> "Fork":
        """Have a process begin to decode. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = [theirs.fileno(), recording.fileno(), output.fileno(), report.fileno()]
            with self._lock:
                try:
                    self._send(task, descriptors)
                except ConnectionError:  # the server has ended: something outside has killed it
                    self._end()
                    self._send(task, descriptors)
        return Fork(ours)

    def _send(self, task: Task, descriptors: list[int]) -> None:
        messages = self._messages or self._begin()
        socket.send_fds(messages, [task.encoded()], descriptors)

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, _search_path()],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=_ENVIRONMENT | {name: os.environ[name] for name in _LIBRARY_PATHS if name in os.environ},
                start_new_session=True,  # an interrupt from the terminal must reach the API only
            )
        self._messages = ours
        self._stop = weakref.finalize(self, _stop, ours, process)
        return ours

    def _end(self) -> None:
        if self._stop is not None:
            self._stop()
        self._messages = self._stop = None


class Fork:
    """A process that decodes one recording."""

    def __init__(self, about: socket.socket) -> None:
        self._about = about

    def kill(self) -> None:
        """Kill the process. It may be called while another thread waits for its end."""
        with suppress(OSError):  # it has ended
            self._about.shutdown(socket.SHUT_WR)

    def status(self, timeout: float) -> int:
        """Wait for the end of the process; the exit status, which is the negative signal of a killed process.

        After `timeout` seconds it is killed. Raises ForkError where its fork server has ended.
        """
        with self._about:
            self._about.settimeout(timeout)
            try:
                status = self._about.recv(STATUS.size)
            except TimeoutError:
                self.kill()
                self._about.settimeout(_KILL_SECONDS)
                status = self._about.recv(STATUS.size)
        if len(status) < STATUS.size:
            raise ForkError("its fork server has ended")
        return int(STATUS.unpack(status)[0])


def _stop(messages: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    messages.close()
    try:
        process.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _search_path() -> str:
    """The module search path of this process, for the new one."""
    return json.dumps([str(Path(entry).resolve()) for entry in [*sys.path, str(_PROJECT)] if entry])
