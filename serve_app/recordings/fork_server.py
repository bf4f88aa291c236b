"""Main program of the fork server, which forks one process for each recording.

It has imported the decoders before, so a fork begins to decode at once. The server itself never reads a
recording, and no fork decodes a second one.

Its standard input is a socket from the API. Each message on it is a `Task` with four descriptors: a socket
about this one process, the recording, the output and the report. Over the socket about the process the API
gets its exit status; if the API closes its side first, the process is killed. When the API closes the socket
of messages, or dies, the fork server kills its forks and ends.
"""

import gc
import os
import selectors
import signal
import socket
from contextlib import suppress

from serve_app.recordings.process import run
from serve_app.recordings.protocol import STATUS, TASK_BYTES, Task

_DESCRIPTORS = 4


def main() -> None:
    """Fork processes until the API closes standard input."""
    gc.freeze()  # otherwise the garbage collector of each fork would copy the pages of all modules
    with socket.socket(fileno=0) as messages:
        _Forks(messages).serve()


class _Forks:
    """The processes that decode at the moment."""

    def __init__(self, messages: socket.socket) -> None:
        self._messages = messages
        self._running: dict[int, socket.socket] = {}
        """The socket about each process, by process id."""
        self._ended, self._wake_up = socket.socketpair()
        for side in (self._ended, self._wake_up):
            side.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_up.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(messages, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._ended:
                    self._ended.recv(1 << 12)
                    self._report_ended()
                elif key.fileobj is not self._messages:
                    self._kill(key.data, key.fileobj)
                elif not self._begin_next():
                    for process in self._running:
                        os.kill(process, signal.SIGKILL)
                    return

    def _begin_next(self) -> bool:
        """Fork a process for the next message. False where the API has closed the socket."""
        message, descriptors, _, _ = socket.recv_fds(
            self._messages, TASK_BYTES, _DESCRIPTORS, socket.MSG_WAITALL
        )
        if not message:
            return False
        about, recording, output, report = descriptors
        server = os.getpid()
        try:
            process = os.fork()
            if process == 0:
                try:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    run(Task.decoded(message), server, recording, output, report)
                finally:
                    os._exit(1)
        except OSError:  # too many processes; the API sees that the socket is closed
            os.close(about)
        else:
            self._running[process] = socket.socket(fileno=about)
            self._selector.register(self._running[process], selectors.EVENT_READ, process)
        for descriptor in (recording, output, report):
            os.close(descriptor)
        return True

    def _kill(self, process: int, about: object) -> None:
        """Kill a process that the API does not wait for any more."""
        socket_about = self._running.get(process)
        if socket_about is about and socket_about is not None:  # else it has ended in the meantime
            self._selector.unregister(socket_about)
            os.kill(process, signal.SIGKILL)

    def _report_ended(self) -> None:
        while self._running:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            with self._running.pop(process) as about:
                with suppress(KeyError):  # it was unregistered when the process was killed
                    self._selector.unregister(about)
                with suppress(OSError):  # the API does not wait
                    about.send(STATUS.pack(os.waitstatus_to_exitcode(status)))
