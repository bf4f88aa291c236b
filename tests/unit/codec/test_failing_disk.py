"""A song or a recording is stored whole or its writing fails, whichever write or sync the disk refuses."""

import io
import os
import stat
import tempfile
import uuid
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from deployments.codec.files.file_work import write_song
from deployments.common import stored_files
from deployments.common.audio_formats import FORMATS
from deployments.common.errors import StorageError
from deployments.common.marks import Marks
from deployments.common.messages import DecodeRequest
from deployments.common.stored_files import located, new_stored_file, stored_file
from serve_app.execution.failures import classify
from serve_app.storage import BLOCK_BYTES, AudioStorage
from tests.decoded_audio import decoded
from tests.encoded_audio import music
from tests.faulty_disk import KINDS, Fault, faulty_disk
from tests.latents import HeldLatents

SECONDS = 0.4
MARKS = Marks("acestep-v15-turbo", None, 7)
NEVER = 1 << 30


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def stored(folder: str) -> dict[str, bytes]:
    storage, root = located(folder)
    return {path: storage.cat_file(path) for path in storage.find(root)}


def clear(folder: str) -> None:
    """Delete everything, so that the next write makes and syncs its folders again."""
    storage, job = located(f"{folder}/job")
    if storage.exists(job):
        storage.rm(job, recursive=True)


def write(folder: str, audio_format: str) -> None:
    latents = HeldLatents(np.zeros((25, 64), np.float32))
    uri = f"{folder}/job/1/0.{audio_format}"
    request = DecodeRequest(latents, SECONDS, audio_format, uri, marks=MARKS)
    write_song(music(SECONDS), request, lambda _: None)


@KINDS
@pytest.mark.parametrize("audio_format", FORMATS)
def test_a_song_whose_disk_fails_at_any_write_is_not_published(
    folder: str, audio_format: str, number: int, lasting: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with faulty_disk(Fault(at=NEVER)) as healthy:
        write(folder, audio_format)
    (whole,) = stored(folder).values()
    clear(folder)
    assert healthy.writes > 1
    for at in range(1, healthy.writes + 1):
        with faulty_disk(Fault(at, number, lasting)), pytest.raises(StorageError) as failed:
            write(folder, audio_format)
        assert classify(failed.value).retryable
        assert stored(folder) == {}
        clear(folder)
    assert capfd.readouterr().err == ""  # No library printed an error that it should have raised.
    with faulty_disk(Fault(healthy.writes + 1, number, lasting)):
        write(folder, audio_format)
    assert list(stored(folder).values()) == [whole]
    assert decoded(whole).shape[1] > SECONDS * 24_000  # This shows that the compared file is a song.


@KINDS
def test_a_recording_whose_disk_fails_at_any_write_is_not_stored(
    folder: str, number: int, lasting: bool
) -> None:
    storage = AudioStorage(folder)
    recording = os.urandom(3 * BLOCK_BYTES + 5)
    uri = storage.recording_uri("job", "source")
    with faulty_disk(Fault(at=NEVER)) as healthy:
        storage.write(uri, io.BytesIO(recording))
    clear(folder)
    for at in range(1, healthy.writes + 1):
        with faulty_disk(Fault(at, number, lasting)), pytest.raises(StorageError):
            storage.write(uri, io.BytesIO(recording))
        assert stored(folder) == {}
        clear(folder)


def test_a_system_without_proc_copies_by_files_with_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stored_files, "_DESCRIPTORS", tmp_path / "missing")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uri = f"memory://{uuid.uuid4().hex}/source"
    AudioStorage("memory://").write(uri, io.BytesIO(b"song"))
    assert read_stored(uri) == b"song"
    assert list(tmp_path.iterdir()) == []


def read_stored(uri: str) -> bytes:
    with stored_file(uri) as path:
        return path.read_bytes()


def test_a_copy_for_which_the_folder_of_temporary_files_has_no_room_names_the_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = f"memory://{uuid.uuid4().hex}/source"
    AudioStorage("memory://").write(uri, io.BytesIO(b"song"))
    assert read_stored(uri) == b"song"

    def full() -> BinaryIO:
        return Path("/dev/full").open("wb+")

    monkeypatch.setattr(stored_files, "TemporaryFile", full)
    with pytest.raises(StorageError, match=f"{tempfile.gettempdir()}, is full"):
        read_stored(uri)


def write_bytes(path: Path) -> None:
    with new_stored_file(str(path)) as file:
        file.write(b"song")


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "job" / "1" / "0.wav"
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append((name, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_bytes(path)
    assert synced == [(tmp_path.name, False), ("job", False), ("0.wav", False), ("1", True)]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_that_does_not_get_to_the_disk_or_to_its_name_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "0.wav"

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(StorageError, match=str(tmp_path)):
        write_bytes(path)
    assert list(tmp_path.iterdir()) == []


def test_files_and_folders_are_for_the_servers_user_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        write_bytes(tmp_path / "output" / "job" / "1" / "0.wav")
    finally:
        os.umask(mask)
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")
    }
    assert modes == {
        "output": 0o700,
        "output/job": 0o700,
        "output/job/1": 0o700,
        "output/job/1/0.wav": 0o600,
    }
