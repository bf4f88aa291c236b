from pathlib import Path

import pytest

from deployments.common.stored_files import located, new_stored_file, stored_file


@pytest.fixture(params=["local", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket')}"
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def stored(uri: str) -> bytes:
    with stored_file(uri) as path:
        return path.read_bytes()


def listing(folder: str) -> list[str]:
    storage, path = located(folder)
    return [Path(name).name for name in storage.find(path)]


def test_a_written_file_can_be_read_again(folder: str):
    uri = f"{folder}/job/1/0.wav"
    with new_stored_file(uri) as file:
        file.write(b"song")
    assert stored(uri) == b"song"
    assert listing(folder) == ["0.wav"]


def test_a_file_replaces_an_older_one(folder: str):
    uri = f"{folder}/0.wav"
    for content in (b"first", b"second"):
        with new_stored_file(uri) as file:
            file.write(content)
    assert stored(uri) == b"second"


def test_nothing_is_there_before_the_file_is_whole(folder: str):
    uri = f"{folder}/0.wav"
    with new_stored_file(uri) as file:
        file.write(b"so")
        file.flush()
        storage, path = located(uri)
        assert not storage.exists(path)
        file.write(b"ng")
    assert stored(uri) == b"song"


def write_and_fail(uri: str) -> None:
    with new_stored_file(uri) as file:
        file.write(b"half")
        raise InterruptedError


def test_a_failed_file_leaves_nothing_behind(folder: str):
    with pytest.raises(InterruptedError):
        write_and_fail(f"{folder}/0.wav")
    assert listing(folder) == []


def test_a_missing_file_is_said_so(folder: str):
    with pytest.raises(FileNotFoundError):
        stored(f"{folder}/none.wav")
