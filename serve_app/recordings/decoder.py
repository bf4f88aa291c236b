"""Has a process decode each recording, and interprets its outcome.

Processes are not reused, so that one client's file cannot affect the decoding of another's. They are forks of
a server that has imported the decoders, because to start Python and import them takes 0.3 s (measured).
"""

import asyncio
import json
import logging
import os
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

from configs.domain import SAMPLE_RATE
from configs.settings import RecordingSettings
from deployments.common.errors import StorageError
from deployments.common.stored_recordings import FRAME_BYTES, HEADER_BYTES, header, largest_file
from serve_app.recordings.errors import RecordingError
from serve_app.recordings.forks import Fork, ForkError, ForkServer
from serve_app.recordings.protocol import NO_MEMORY, SURPRISE, Task

logger = logging.getLogger("ray.serve")

_PATIENCE = 10
"""Time-out of the process, as a multiple of its processor seconds."""
_MAX_REPORT_BYTES = 4_096
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP)
"""Signals of a decoder that crashed or ran out of memory."""
_INSTEAD = "convert it to WAV or FLAC and send that"


@dataclass(frozen=True)
class DecodedRecording:
    """A recording as the server keeps it (`deployments.common.stored_recordings`)."""

    file: BinaryIO
    """An anonymous file that the owner of this object must close."""
    seconds: float
    silent: bool
    damaged: bool
    """Whether parts of the original could not be decoded and are missing."""


class RecordingDecoder:
    """Decodes untrusted files, a limited number at a time; others wait in order."""

    def __init__(self, settings: RecordingSettings) -> None:
        self._settings = settings
        self._server = ForkServer()
        self._threads = ThreadPoolExecutor(settings.processes, thread_name_prefix="recordings")
        self._said_what_is_missing = False

    def start(self) -> None:
        """Start the fork server, which the first `decode` would start otherwise. Raises OSError."""
        self._server.start()

    def close(self) -> None:
        """End the fork server and all decoding."""
        self._server.close()

    async def decode(self, recording: BinaryIO, max_seconds: float) -> DecodedRecording:
        """Decode `recording`, a file with a descriptor that nothing else uses meanwhile.

        Raises RecordingError where the file is not a recording of at most `max_seconds` or exceeds the
        limits, and StorageError where the machine cannot decode it at the moment. Cancelling the call kills
        the process.
        """
        run = _Run(self._server, self._settings, recording, max_seconds)
        queued = self._threads.submit(run.to_its_end)
        try:
            decoded = await asyncio.shield(asyncio.wrap_future(queued))
        except asyncio.CancelledError:
            run.kill()
            if not queued.cancel():
                await asyncio.gather(asyncio.wrap_future(queued), return_exceptions=True)
            raise
        if run.missing_limits and not self._said_what_is_missing:
            self._said_what_is_missing = True
            missing = ", ".join(run.missing_limits)
            logger.warning("this system does not limit processes that decode recordings in: %s", missing)
        return decoded


class _Run:
    """The process for one recording, run from start to end on one thread."""

    def __init__(
        self, server: ForkServer, settings: RecordingSettings, recording: BinaryIO, max_seconds: float
    ) -> None:
        self.missing_limits: list[str] = []
        self._server = server
        self._settings = settings
        self._recording = recording
        self._max_seconds = max_seconds
        self._lock = threading.Lock()
        self._process: Fork | None = None
        self._killed = False

    def kill(self) -> None:
        """Kill the process, or prevent its start."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def to_its_end(self) -> DecodedRecording:
        """Run the process and interpret its report. Raises RecordingError and StorageError."""
        try:
            with ExitStack() as cleanup:
                output = cleanup.enter_context(tempfile.TemporaryFile())
                with tempfile.TemporaryFile(buffering=0) as report:
                    status = self._ended(output, report)
                    report.seek(0)
                    lines = report.read(_MAX_REPORT_BYTES).splitlines()
                decoded = self._understood(output, status, [json.loads(line) for line in lines])
                cleanup.pop_all()
                return decoded
        except StorageError:
            raise
        except (OSError, ForkError, ValueError) as error:
            if isinstance(error, RecordingError):
                raise
            raise StorageError(f"a recording was not decoded: {type(error).__name__}: {error}") from error

    def _ended(self, output: BinaryIO, report: BinaryIO) -> int:
        """Run the process. Returns its exit status, which is the negative signal where a signal ended it."""
        task = Task(
            max_seconds=self._max_seconds,
            memory_bytes=self._settings.memory_bytes,
            cpu_seconds=self._settings.cpu_seconds,
            file_bytes=largest_file(self._max_seconds),
        )
        self._recording.flush()
        with self._lock:
            if self._killed:
                raise StorageError("a recording was not decoded: nobody waits for it")
            self._process = self._server.fork(task, self._recording, output, report)
        return self._process.status(_PATIENCE * self._settings.cpu_seconds)

    def _understood(self, output: BinaryIO, status: int, report: list[Any]) -> DecodedRecording:
        if report:
            self.missing_limits = report[0]
        outcome: dict[str, Any] = report[1] if len(report) > 1 else {}
        if status == -signal.SIGXCPU:
            raise RecordingError(
                f"takes more than {self._settings.cpu_seconds} s of processor time to decode: {_INSTEAD}"
            )
        if NO_MEMORY in outcome:
            megabytes = self._settings.memory_bytes // 1_000_000
            raise RecordingError(f"takes more than {megabytes:,} MB of memory to decode: {_INSTEAD}")
        if "refused" in outcome:
            raise RecordingError(str(outcome["refused"]))
        if SURPRISE in outcome or (report and -status in _CRASHES):
            logger.warning("a recording could not be decoded: %s", outcome.get(SURPRISE, f"signal {-status}"))
            raise RecordingError(f"is damaged so that it cannot be decoded: {_INSTEAD}")
        if status or "converted" not in outcome:
            raise StorageError(f"a recording was not decoded: {outcome.get('failed', f'status {status}')}")
        frames = (output.seek(0, os.SEEK_END) - HEADER_BYTES) // FRAME_BYTES
        output.seek(0)
        output.write(header(frames))
        output.flush()
        return DecodedRecording(file=output, seconds=frames / SAMPLE_RATE, **outcome["converted"])
