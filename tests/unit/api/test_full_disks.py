"""Uploads to full disks get an answer that asks to try again, and leave nothing behind."""

import errno
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest

from deployments.common import temporary_files
from tests.faulty_disk import KINDS, Fault, faulty_disk
from tests.unit.api.conftest import LocalJobService, wav_bytes

GENERATE = "/v1/music/generate"
UPLOAD: dict[str, Any] = {
    "data": {"task_type": "cover"},
    "files": {"src_audio": ("a.wav", wav_bytes(1.0)), "reference_audio": ("b.wav", wav_bytes(1.0))},
}
LARGE = {"data": UPLOAD["data"], "files": {"src_audio": ("a.wav", wav_bytes(19.0) * 5)}}
"""A body larger than what is kept in memory while it arrives."""


def nothing_is_left(output: Path) -> bool:
    return not output.exists() or not any(output.iterdir())


@KINDS
async def test_recordings_for_which_there_is_no_room_are_a_503(
    http: httpx.AsyncClient, service: LocalJobService, output: Path, number: int, lasting: bool
) -> None:
    with faulty_disk(Fault(at=1 << 30)) as healthy:
        assert (await http.post(GENERATE, **UPLOAD)).status_code == 200
    (job,) = service.jobs
    shutil.rmtree(output)
    assert healthy.writes > 1
    for at in range(1, healthy.writes + 1):
        with faulty_disk(Fault(at, number, lasting)):
            answer = await http.post(GENERATE, **UPLOAD)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert nothing_is_left(output)
        shutil.rmtree(output, ignore_errors=True)
    assert service.jobs == [job]


async def test_a_full_folder_of_temporary_files_is_a_503_and_the_log_names_it(
    http: httpx.AsyncClient,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    service_log: Callable[[], str],
) -> None:
    def full(**_: object) -> BinaryIO:
        return Path("/dev/full").open("wb+")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    answer = await http.post(GENERATE, **LARGE)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert tempfile.gettempdir() not in answer.text
    assert f"the folder of temporary files, {tempfile.gettempdir()}, is full" in service_log()
    assert nothing_is_left(output)


async def test_a_machine_without_a_usable_temporary_folder_is_a_503(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, service_log: Callable[[], str]
) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(temporary_files.tempfile, "gettempdir", none)
    assert (await http.post(GENERATE, **LARGE)).status_code == 503
    assert "['/tmp']" in service_log()


async def test_what_else_the_system_refuses_is_a_503(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, service_log: Callable[[], str]
) -> None:
    text = "what a user may have sent"

    def broken(**_: object) -> None:
        raise OSError(errno.EMFILE, text)

    monkeypatch.setattr(tempfile, "TemporaryFile", broken)
    answer = await http.post(GENERATE, **LARGE)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert "broken" in service_log()
    assert text not in service_log()


@pytest.fixture
def service_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    monkeypatch.setattr(logging.getLogger("ray.serve"), "propagate", True)
    return lambda: caplog.text
