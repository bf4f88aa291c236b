"""Runs the process that decodes a recording, one for each file, and understands how it ends.

A fresh process costs 0.15 s of a core before it decodes (measured). It is not kept for the next file: what
one client's file did to it would be there for another's.
"""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from configs.domain import SAMPLE_RATE
from configs.settings import RecordingSettings
from deployments.common.errors import StorageError
from deployments.common.stored_recordings import FRAME_BYTES, HEADER_BYTES, header, largest_file
from serve_app.recordings.errors import RecordingError
from serve_app.recordings.process import NO_MEMORY, SURPRISE, Task

logger = logging.getLogger("ray.serve")

_PROJECT = Path(__file__).parents[2]
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from serve_app.recordings.process import main
main(sys.argv[2])
"""
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Threads would take address space, and they could not be started."""
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Some builds of Python find their own libraries by these alone."""
_PATIENCE = 10
"""A process may take so many times its processor seconds until it ends."""
_MAX_REPORT_BYTES = 4_096
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP)
"""Signals of a decoder that has run into a fault, or out of memory."""
_INSTEAD = "convert it to WAV or FLAC and send that"


@dataclass(frozen=True)
class DecodedRecording:
    """A recording as the server keeps it (`deployments.common.stored_recordings`)."""

    file: BinaryIO
    """Anonymous; whoever has this closes it."""
    seconds: float
    silent: bool
    damaged: bool
    """Parts of the original could not be decoded, and are missing."""


class RecordingDecoder:
    """Decodes strangers' files, some at a time; others wait in their order."""

    def __init__(self, settings: RecordingSettings) -> None:
        self._settings = settings
        # The kernel ends a process with the thread that started it. These live as long as this object.
        self._threads = ThreadPoolExecutor(settings.processes, thread_name_prefix="recordings")
        self._said_what_is_missing = False

    async def decode(self, recording: BinaryIO, max_seconds: float) -> DecodedRecording:
        """`recording` is a file with a descriptor, open for reading, which nobody else uses meanwhile.

        Raises RecordingError where the file is no recording of at most `max_seconds`, or takes more than the
        limits to decode, and StorageError where the machine cannot do it at the moment. When it is cancelled
        the process is killed.
        """
        run = _Run(self._settings, recording, max_seconds)
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
    """One recording's process, from start to end on one thread."""

    def __init__(self, settings: RecordingSettings, recording: BinaryIO, max_seconds: float) -> None:
        self.missing_limits: list[str] = []
        self._settings = settings
        self._recording = recording
        self._max_seconds = max_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def kill(self) -> None:
        """End the process, or keep it from starting."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def to_its_end(self) -> DecodedRecording:
        """Raises RecordingError and StorageError."""
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
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            if isinstance(error, RecordingError):
                raise
            raise StorageError(f"a recording was not decoded: {type(error).__name__}: {error}") from error

    def _ended(self, output: BinaryIO, report: BinaryIO) -> int:
        """Run the process; its exit status, which is a negative signal where one ended it."""
        task = Task(
            output=output.fileno(),
            parent=os.getpid(),
            max_seconds=self._max_seconds,
            memory_bytes=self._settings.memory_bytes,
            cpu_seconds=self._settings.cpu_seconds,
            file_bytes=largest_file(self._max_seconds),
        )
        self._recording.flush()
        with self._lock:
            if self._killed:
                raise StorageError("a recording was not decoded: nobody waits for it")
            self._process = process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, _search_path(), json.dumps(asdict(task))],
                stdin=self._recording.fileno(),
                stdout=report,
                stderr=subprocess.DEVNULL,
                pass_fds=(task.output,),
                cwd="/",
                env=_ENVIRONMENT | {name: os.environ[name] for name in _LIBRARY_PATHS if name in os.environ},
                start_new_session=True,  # an interrupt on a terminal is for the server
            )
        with process:
            try:
                return process.wait(_PATIENCE * self._settings.cpu_seconds)
            finally:
                process.kill()

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


def _search_path() -> str:
    """Where the process finds its modules: where this one does."""
    return json.dumps([str(Path(entry).resolve()) for entry in [*sys.path, str(_PROJECT)] if entry])
