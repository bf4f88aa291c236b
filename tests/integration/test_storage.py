"""Audio files in and out, on a disk, in S3 and on another fsspec file system."""

import io
import time
import uuid
from pathlib import Path

import pytest

from configs.settings import PROJECT_ROOT
from serve_app.storage import BLOCK_BYTES, SIGN_INS, AudioStorage


@pytest.fixture(params=["disk", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AudioStorage:
    if request.param == "s3":
        return AudioStorage(f"s3://{request.getfixturevalue('bucket')}/some/folder")
    return AudioStorage(str(tmp_path) if request.param == "disk" else f"memory://{uuid.uuid4().hex}/")


def test_a_file_comes_back_whole_and_in_parts(storage: AudioStorage) -> None:
    content = bytes(range(256)) * (BLOCK_BYTES // 64)
    file = io.BytesIO(content)
    file.seek(99)
    uri = storage.recording_uri("job", "source")
    storage.write(uri, file)
    assert storage.size(uri) == len(content)
    assert b"".join(storage.read(uri, 0, len(content))) == content
    assert b"".join(storage.read(uri, 5, BLOCK_BYTES + 7)) == content[5 : BLOCK_BYTES + 7]
    with storage.open(uri) as opened:
        opened.seek(-3, io.SEEK_END)
        assert opened.read() == content[-3:]


def test_each_attempt_and_song_has_a_file_of_its_own(storage: AudioStorage) -> None:
    uris = {
        storage.recording_uri("job", "source"),
        storage.recording_uri("job", "reference"),
        *(storage.result_uri("job", attempt, index, "mp3") for attempt in (1, 2) for index in (0, 1)),
        storage.result_uri("job", 1, 0, "aac"),
    }
    assert len(uris) == 7
    assert storage.result_uri("job", 1, 0, "aac").endswith("/job/1/0.m4a")


def test_deleting_a_job_leaves_the_others(storage: AudioStorage) -> None:
    for job_id in ("a", "ab"):
        storage.write(storage.result_uri(job_id, 1, 0, "wav"), io.BytesIO(b"song"))
        storage.write(storage.recording_uri(job_id, "source"), io.BytesIO(b"song"))
    storage.delete_job("a")
    storage.delete_job("a")
    storage.delete_job("never there")
    assert storage.size(storage.result_uri("ab", 1, 0, "wav")) == 4
    with pytest.raises(FileNotFoundError):
        storage.size(storage.result_uri("a", 1, 0, "wav"))
    with pytest.raises(FileNotFoundError):
        storage.open(storage.recording_uri("a", "source"))


def test_one_attempt_goes_without_the_others(storage: AudioStorage) -> None:
    uris = [storage.result_uri("job", attempt, 0, "wav") for attempt in (1, 2)]
    for uri in uris:
        storage.write(uri, io.BytesIO(b"song"))
    storage.delete_attempt("job", 1)
    storage.delete_attempt("job", 3)
    assert storage.size(uris[1]) == 4
    with pytest.raises(FileNotFoundError):
        storage.size(uris[0])


def test_only_the_files_that_are_named_stay(storage: AudioStorage) -> None:
    kept = [storage.result_uri("job", 2, index, "wav") for index in (0, 1)]
    gone = [
        storage.recording_uri("job", "source"),
        storage.result_uri("job", 1, 0, "wav"),
        storage.result_uri("job", 2, 10, "wav"),
    ]
    for uri in (*kept, *gone):
        storage.write(uri, io.BytesIO(b"song"))
    storage.delete_all_but("job", kept)
    storage.delete_all_but("never there", kept)
    assert [storage.size(uri) for uri in kept] == [4, 4]
    for uri in gone:
        with pytest.raises(FileNotFoundError):
            storage.size(uri)


def test_folders_of_jobs_are_told_by_their_names(storage: AudioStorage) -> None:
    assert storage.job_ids() == []
    job_id = str(uuid.uuid4())
    for name in (job_id, "a-users-folder", job_id.upper(), f"{job_id}.bak"):
        storage.write(storage.recording_uri(name, "source"), io.BytesIO(b"song"))
    assert storage.job_ids() == [job_id]


def test_each_store_that_uses_the_storage_signs_in(storage: AudioStorage) -> None:
    assert storage.sign_ins() == {}
    assert storage.note_of("0123456789ab") is None
    for store, note in (("0123456789ab", b"first"), ("ba9876543210", b"other"), ("0123456789ab", b"again")):
        storage.sign_in(store, note)
    storage.write(storage.recording_uri(SIGN_INS, "no-store"), io.BytesIO(b"a user's"))
    found = storage.sign_ins()
    assert found.keys() == {"0123456789ab", "ba9876543210"}
    assert all(abs(at - time.time()) < 60 for at in found.values())
    assert storage.note_of("0123456789ab") == b"again"
    assert storage.job_ids() == []


def test_a_failed_write_leaves_no_file(storage: AudioStorage) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError("the disk of the sender is gone")
            return super().read(size)

    uri = storage.recording_uri("job", "source")
    with pytest.raises(OSError, match="sender"):
        storage.write(uri, Broken(bytes(2 * BLOCK_BYTES)))
    with pytest.raises(FileNotFoundError):
        storage.size(uri)


def test_a_relative_path_is_taken_from_the_project() -> None:
    assert AudioStorage("output").recording_uri("job", "source") == str(PROJECT_ROOT / "output/job/source")


def test_file_urls_are_paths(tmp_path: Path) -> None:
    storage = AudioStorage(f"file://{tmp_path}")
    storage.write(storage.recording_uri("job", "source"), io.BytesIO(b"song"))
    assert (tmp_path / "job" / "source").read_bytes() == b"song"
