"""The process that decodes strangers' files: its limits, its ends, and the messages about each."""

import asyncio
import os
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from configs.settings import RecordingSettings
from deployments.common.errors import StorageError
from deployments.common.stored_recordings import largest_file, read
from serve_app.recordings import decoder as decoder_module
from serve_app.recordings.decoder import RecordingDecoder
from serve_app.recordings.errors import RecordingError
from tests.decoded_audio import decoded
from tests.encoded_audio import ffmpeg_file, music, sound_file
from tests.hostile_audio import packed_movie

HOUR = 3_600.0
SERVER = """
import asyncio, sys
from configs.settings import RecordingSettings
from serve_app.recordings.decoder import RecordingDecoder
asyncio.run(RecordingDecoder(RecordingSettings()).decode(sys.stdin.buffer.raw, 3600.0))
"""
RATE, CHANNELS = 192_000, 8


@pytest.fixture(scope="module")
def decoder() -> Iterator[RecordingDecoder]:
    decoder = RecordingDecoder(RecordingSettings())
    yield decoder
    decoder.close()


@pytest.fixture
def file_of() -> Iterator[Callable[[bytes], BinaryIO]]:
    with ExitStack() as cleanup:

        def file(content: bytes) -> BinaryIO:
            opened = cleanup.enter_context(tempfile.TemporaryFile())
            opened.write(content)
            return opened

        yield file


@pytest.fixture
def long_file(file_of: Callable[[bytes], BinaryIO]) -> BinaryIO:
    """Return a file that takes some seconds to decode. Its samples are a hole, so it takes no disk space."""
    seconds, block = 1_200, 2 * CHANNELS
    layout = struct.pack("<HHIIHH", 1, CHANNELS, RATE, RATE * block, block, 16)
    size = seconds * RATE * block
    file = file_of(
        b"RIFF"
        + struct.pack("<I", size + 36)
        + b"WAVEfmt \x10\0\0\0"
        + layout
        + b"data"
        + struct.pack("<I", size)
    )
    file.truncate(44 + size)
    return file


def processes_that_decode(server: psutil.Process) -> list[psutil.Process]:
    """The descendants of a server that have limited themselves."""
    found = []
    for child in server.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.rlimit(psutil.RLIMIT_NOFILE) == (0, 0):
                found.append(child)
    return found


async def the_process() -> psutil.Process:
    """Return the decoding process as soon as it has limited itself."""
    while True:
        for process in processes_that_decode(psutil.Process()):
            return process
        await asyncio.sleep(0.01)


def status(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/status").read_text()


def server_that_decodes(recording: BinaryIO) -> tuple[psutil.Popen, psutil.Process]:
    """Return a process like a replica, and the process that decodes for it."""
    recording.flush()
    server = psutil.Popen([sys.executable, "-c", SERVER], stdin=recording)
    while True:
        for process in processes_that_decode(server):
            return server, process
        time.sleep(0.01)


@pytest.mark.parametrize("spooled", [False, True], ids=["a file", "an upload in memory"])
async def test_a_recording_is_decoded_into_a_file_that_can_be_stored(
    decoder: RecordingDecoder, tmp_path: Path, spooled: bool
):
    content = sound_file(music(2.0, 44_100), "FLAC", "PCM_16", 44_100)
    with tempfile.SpooledTemporaryFile() if spooled else tempfile.TemporaryFile() as upload:
        upload.write(content)
        recording = await decoder.decode(upload, 20.0)
    assert (recording.seconds, recording.silent, recording.damaged) == (2.0, False, False)
    stored = tmp_path / "source"
    with recording.file as file:
        file.seek(0)
        stored.write_bytes(file.read())
    assert (read(stored) == decoded(content)).all()


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("matroska", "flac"),
        ("mpegts", "aac"),
        ("ipod", "alac"),
        ("asf", "wmav2"),
        ("flv", "aac"),
        ("caf", "alac"),
    ],
)
async def test_nothing_is_missing_in_the_process_that_can_open_no_file(
    decoder: RecordingDecoder, file_of: Callable[[bytes], BinaryIO], container: str, codec: str
):
    recording = await decoder.decode(file_of(ffmpeg_file(music(0.5), container, codec)), 20.0)
    recording.file.close()
    assert not recording.damaged


async def test_the_process_has_limits_and_neither_secrets_nor_files(
    long_file: BinaryIO, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    settings = RecordingSettings()
    decoder = RecordingDecoder(settings)
    with tempfile.TemporaryFile() as other:
        os.set_inheritable(other.fileno(), True)
        decoding = asyncio.create_task(decoder.decode(long_file, HOUR))
        process = await the_process()
        assert process.rlimit(psutil.RLIMIT_AS) == (settings.memory_bytes,) * 2
        assert process.rlimit(psutil.RLIMIT_CPU) == (settings.cpu_seconds, settings.cpu_seconds + 1)
        assert process.rlimit(psutil.RLIMIT_FSIZE) == (largest_file(HOUR),) * 2
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_NPROC) == (0, 0)
        assert process.num_threads() == 1
        assert set(process.environ()) <= {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"}
        assert "NoNewPrivs:\t1" in status(process)
        # The four are the recording, the report, the null device and the output.
        assert process.num_fds() == 4
        decoding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await decoding
    decoder.close()


async def test_cancelling_ends_the_process_at_once(decoder: RecordingDecoder, long_file: BinaryIO):
    decoding = asyncio.create_task(decoder.decode(long_file, HOUR))
    process = await the_process()
    decoding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await decoding
    assert not process.is_running()


async def test_no_more_processes_run_than_is_set(long_file: BinaryIO, file_of: Callable[[bytes], BinaryIO]):
    decoder = RecordingDecoder(RecordingSettings(processes=1))
    first = asyncio.create_task(decoder.decode(long_file, HOUR))
    process = await the_process()
    others = [
        asyncio.create_task(decoder.decode(file_of(sound_file(music(0.2), "WAV", "PCM_16")), 20.0))
        for _ in range(3)
    ]
    await asyncio.sleep(0.3)
    assert processes_that_decode(psutil.Process()) == [process]
    others[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await others[0]
    first.cancel()
    for recording in await asyncio.gather(*others[1:]):
        recording.file.close()


def test_the_process_ends_with_the_server(long_file: BinaryIO):
    server, process = server_that_decodes(long_file)
    server.kill()
    server.wait()
    assert psutil.wait_procs([process], timeout=60)[1] == []


async def test_too_much_processor_time_is_refused_in_words(long_file: BinaryIO):
    decoder = RecordingDecoder(RecordingSettings(cpu_seconds=1))
    with pytest.raises(RecordingError, match="takes more than 1 s of processor time to decode: convert it"):
        await decoder.decode(long_file, HOUR)


async def test_too_much_memory_is_refused_in_words(file_of: Callable[[bytes], BinaryIO]):
    decoder = RecordingDecoder(RecordingSettings(memory_bytes=400_000_000))
    with pytest.raises(RecordingError, match="takes more than 400 MB of memory to decode: convert it"):
        await decoder.decode(file_of(packed_movie(300_000_000)), HOUR)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
async def test_a_decoder_that_crashes_has_a_damaged_file(
    decoder: RecordingDecoder, long_file: BinaryIO, number: signal.Signals
):
    decoding = asyncio.create_task(decoder.decode(long_file, HOUR))
    (await the_process()).send_signal(number)
    with pytest.raises(RecordingError, match="is damaged so that it cannot be decoded: convert it"):
        await decoding


async def test_a_process_that_somebody_kills_is_a_failure_of_the_server(
    decoder: RecordingDecoder, long_file: BinaryIO
):
    decoding = asyncio.create_task(decoder.decode(long_file, HOUR))
    (await the_process()).kill()
    with pytest.raises(StorageError, match="status -9"):
        await decoding


async def test_a_disk_that_takes_no_more_is_a_failure_of_the_server(
    decoder: RecordingDecoder, file_of: Callable[[bytes], BinaryIO], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(decoder_module, "largest_file", lambda _: 10_000)
    with pytest.raises(StorageError, match="File too large"):
        await decoder.decode(file_of(sound_file(music(1.0), "WAV", "PCM_16")), 20.0)


@pytest.mark.parametrize("fault", ["no temporary folder", "no Python"])
async def test_a_process_that_cannot_be_started_is_a_failure_of_the_server(
    file_of: Callable[[bytes], BinaryIO], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str
):
    decoder = RecordingDecoder(RecordingSettings())
    upload = file_of(sound_file(music(1.0), "WAV", "PCM_16"))
    if fault == "no Python":
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    else:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StorageError, match="No such file or directory"):
        await decoder.decode(upload, 20.0)


async def test_a_short_recording_takes_less_than_to_start_a_process(file_of: Callable[[bytes], BinaryIO]):
    decoder = RecordingDecoder(RecordingSettings())

    def short() -> BinaryIO:
        return file_of(sound_file(music(0.5), "WAV", "PCM_16"))

    async def seconds() -> float:
        began = time.perf_counter()
        (await decoder.decode(short(), 20.0)).file.close()
        return time.perf_counter() - began

    with_start = await seconds()
    without = min([await seconds() for _ in range(5)])
    decoder.close()
    assert without < with_start / 2


async def test_each_recording_has_a_process_of_its_own(decoder: RecordingDecoder, long_file: BinaryIO):
    seen = set()
    for _ in range(3):
        decoding = asyncio.create_task(decoder.decode(long_file, HOUR))
        seen.add(await the_process())
        decoding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await decoding
    assert len(seen) == 3


async def test_a_fork_server_that_somebody_kills_costs_one_recording_and_is_replaced(
    decoder: RecordingDecoder, long_file: BinaryIO, file_of: Callable[[bytes], BinaryIO]
):
    decoding = asyncio.create_task(decoder.decode(long_file, HOUR))
    process = await the_process()
    server = process.parent()
    assert server is not None
    server.kill()
    with pytest.raises(StorageError, match="fork server has ended"):
        await decoding
    assert psutil.wait_procs([process], timeout=60)[1] == []
    recording = await decoder.decode(file_of(sound_file(music(0.5), "WAV", "PCM_16")), 20.0)
    recording.file.close()
    assert recording.seconds == 0.5


async def test_no_process_stays_when_the_decoder_is_closed(decoder: RecordingDecoder, long_file: BinaryIO):
    decoding = asyncio.create_task(decoder.decode(long_file, HOUR))
    process = await the_process()
    server = process.parent()
    await asyncio.to_thread(decoder.close)
    with pytest.raises(StorageError):
        await decoding
    assert psutil.wait_procs([process, server], timeout=60)[1] == []
