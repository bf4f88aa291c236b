"""Recordings that come with a request: uploads, and songs of this server."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.formparsers import MultiPartParser

from configs.domain import code_token
from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.jobs.model import JobState
from serve_app.storage import AudioStorage
from tests.audio import write_recording
from tests.decoded_audio import decoded, stored_recording
from tests.encoded_audio import music, sound_file
from tests.malformed_requests import CUT, endless_upload
from tests.unit.api.conftest import LocalJobService, wav_bytes

GENERATE = "/v1/music/generate"
COVER = {"task_type": "cover"}
StoredFiles = Callable[[], list[Path]]


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


async def counted(chunks: Iterator[bytes], pulled: list[int]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        pulled.append(len(chunk))
        await asyncio.sleep(0)
        yield chunk


def messages(answer: httpx.Response) -> str:
    return " ".join(error["msg"] for error in answer.json()["detail"])


async def test_an_endless_upload_is_refused_while_it_streams(
    http: httpx.AsyncClient, stored_files: StoredFiles
) -> None:
    pulled: list[int] = []
    answer = await http.post(
        GENERATE, content=counted(endless_upload(), pulled), headers={"Content-Type": CUT}
    )
    assert answer.status_code == 413
    assert "4,000,000" in answer.json()["detail"]
    assert sum(pulled) < 4_000_000 + 2 * 65_536
    assert stored_files() == []


@pytest.mark.parametrize("content_type", [CUT, "application/json", "application/x-www-form-urlencoded"])
async def test_a_body_that_says_it_is_too_large_is_not_read(
    http: httpx.AsyncClient, content_type: str
) -> None:
    pulled: list[int] = []
    answer = await http.post(
        GENERATE,
        content=counted(endless_upload(), pulled),
        headers={"Content-Type": content_type, "Content-Length": str(300_000_000)},
    )
    assert answer.status_code == 413
    assert pulled == []


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"]
)
async def test_the_limit_holds_for_bodies_without_files(http: httpx.AsyncClient, content_type: str) -> None:
    pulled: list[int] = []
    answer = await http.post(
        GENERATE, content=counted(endless_upload(), pulled), headers={"Content-Type": content_type}
    )
    assert answer.status_code == 413
    assert sum(pulled) < 4_000_000 + 2 * 65_536


async def test_uploads_are_kept_in_the_folder_of_the_job(
    http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage, stored_files: StoredFiles
) -> None:
    source, reference = wav_bytes(2.0), wav_bytes(1.0)
    answer = await http.post(
        GENERATE,
        data=COVER,
        files={"src_audio": ("../../a.wav", source), "referenceAudio": ("b.wav", reference)},
    )
    assert answer.status_code == 200, answer.text
    job = service.jobs[0]
    assert job.spec.source.seconds == pytest.approx(2.0)
    assert job.spec.reference.seconds == pytest.approx(1.0)
    assert storage.open(job.spec.source.uri).read() == stored_recording(decoded(source))
    assert storage.open(job.spec.reference.uri).read() == stored_recording(decoded(reference))
    assert {path.parent.name for path in stored_files()} == {job.job_id}
    assert len(stored_files()) == 2


@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac", "ogg"])
@pytest.mark.parametrize("spooled_to_disk", [False, True])
async def test_uploads_of_every_size_and_format(
    http: httpx.AsyncClient,
    service: LocalJobService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    spooled_to_disk: bool,
) -> None:
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 1 if spooled_to_disk else 4_000_000)
    song = write_recording(tmp_path / f"song.{suffix}", 2.0)
    answer = await http.post(GENERATE, data=COVER, files={"src_audio": (song.name, song.read_bytes())})
    assert answer.status_code == 200, answer.text
    assert service.last.source.seconds == pytest.approx(2.0, abs=0.1)


async def test_a_source_without_a_use_is_not_kept(
    http: httpx.AsyncClient, service: LocalJobService, stored_files: StoredFiles
) -> None:
    await http.post(GENERATE, files={"src_audio": ("a.wav", wav_bytes())})
    assert "source audio was ignored" in service.last.notes[0]
    assert stored_files() == []


async def test_an_unchosen_file_of_a_browser_form_is_not_given(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    part = b'--cut\r\nContent-Disposition: form-data; name="src_audio"; filename=""\r\n\r\n\r\n--cut--\r\n'
    answer = await http.post(GENERATE, content=part, headers={"Content-Type": CUT})
    assert answer.status_code == 200, answer.text
    assert service.last.source is None


@pytest.mark.parametrize(
    ("upload", "says"),
    [(wav_bytes(level=0), "silent"), (wav_bytes(20.5), "longer than 20 seconds"), (b"", "empty")],
)
async def test_recordings_are_heard_before_they_are_accepted(
    http: httpx.AsyncClient, upload: bytes, says: str, stored_files: StoredFiles
) -> None:
    answer = await http.post(GENERATE, data=COVER, files={"src_audio": ("a.wav", upload)})
    assert answer.status_code == 422
    assert says in messages(answer)
    assert answer.json()["detail"][0]["loc"] == ["body", "src_audio"]
    assert stored_files() == []


async def test_a_damaged_recording_is_used_as_far_as_it_goes_and_the_job_says_so(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    flac = sound_file(music(4.0), "FLAC", "PCM_16")
    answer = await http.post(GENERATE, data=COVER, files={"src_audio": ("a.flac", flac[: len(flac) // 2])})
    assert answer.status_code == 200, answer.text
    seconds = service.last.source.seconds
    assert 1 < seconds < 3
    note = f"The source audio is damaged or incomplete: {seconds:.1f} s of it could be read."
    assert service.last.notes == (note,)


async def test_a_machine_that_cannot_decode_is_a_503_that_says_when_to_come_again(
    service: LocalJobService,
    settings: Settings,
    storage: AudioStorage,
    stored_files: StoredFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    transport = httpx.ASGITransport(create_app(service, settings, storage))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        answer = await http.post(GENERATE, data=COVER, files={"src_audio": ("a.wav", wav_bytes())})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert stored_files() == []


async def test_nothing_is_kept_of_an_upload_when_the_queue_is_full(
    http: httpx.AsyncClient, service: LocalJobService, stored_files: StoredFiles
) -> None:
    await http.post(GENERATE, json={})
    service.claim()
    for _ in range(3):
        assert (await http.post(GENERATE, json={})).status_code == 200
    answer = await http.post(GENERATE, data=COVER, files={"src_audio": ("a.wav", wav_bytes())})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    assert "queue is full" in answer.json()["detail"]
    assert len(service.jobs) == 4
    assert stored_files() == []


async def test_an_upload_beats_the_path_of_the_same_name(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    answer = await http.post(
        GENERATE,
        data={**COVER, "src_audio_path": "/nowhere/song.wav"},
        files={"src_audio": ("a.wav", wav_bytes(1.0))},
    )
    assert answer.status_code == 200, answer.text
    assert service.last.source.seconds == pytest.approx(1.0)


@pytest.fixture
def finished(service: LocalJobService, storage: AudioStorage, tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Return a function that finishes the waiting job with one song."""

    def finish() -> dict[str, Any]:
        claim = service.claim()
        uri = storage.result_uri(claim.job.job_id, 1, 0, "mp3")
        song = write_recording(tmp_path / "song.mp3", 3.0)
        with song.open("rb") as file:
            storage.write(uri, file)
        service.finish(claim, {}, (uri,))
        return {"path": f"/v1/audio/{claim.job.job_id}/0.mp3", "content": song.read_bytes()}

    return finish


async def test_a_result_of_this_server_can_be_a_source(
    http: httpx.AsyncClient,
    service: LocalJobService,
    storage: AudioStorage,
    finished: Callable[[], dict[str, Any]],
) -> None:
    await http.post(GENERATE, json={})
    song = finished()
    answer = await http.post(GENERATE, json={**COVER, "src_audio_path": song["path"]})
    assert answer.status_code == 200, answer.text
    assert service.last.source.seconds == pytest.approx(3.0, abs=0.1)
    assert storage.open(service.last.source.uri).read() == stored_recording(decoded(song["content"]))


@pytest.mark.parametrize(
    "change",
    [("/0.mp3", "/1.mp3"), (".mp3", ".wav"), ("/0.mp3", "/00.mp3"), ("/v1/", "/v2/"), (".mp3", ".mp3?x")],
)
async def test_what_is_no_result_of_this_server(
    http: httpx.AsyncClient, finished: Callable[[], dict[str, Any]], change: tuple[str, str]
) -> None:
    await http.post(GENERATE, json={})
    path = finished()["path"].replace(*change)
    answer = await http.post(GENERATE, json={**COVER, "src_audio_path": path})
    assert answer.status_code == 422


async def test_an_unfinished_or_swept_result_is_no_source(
    http: httpx.AsyncClient,
    service: LocalJobService,
    storage: AudioStorage,
    finished: Callable[[], dict[str, Any]],
) -> None:
    job_id = (await http.post(GENERATE, json={})).json()["job_id"]
    request = {**COVER, "src_audio_path": f"/v1/audio/{job_id}/0.mp3"}
    assert (await http.post(GENERATE, json=request)).status_code == 422
    finished()
    storage.delete_job(job_id)
    assert service.tracker.view(job_id).state is JobState.SUCCEEDED
    assert (await http.post(GENERATE, json=request)).status_code == 422


@pytest.mark.parametrize(
    ("written", "seconds", "known"),
    [
        ("".join(map(code_token, range(10))), 2.0, tuple(range(10))),
        ("".join(map(code_token, range(9))), 2.0, ()),
        (None, 2.0, ()),
    ],
    ids=["codes of the whole song", "fewer codes than the song has", "no codes"],
)
async def test_a_song_of_this_server_is_known_by_its_codes(
    http: httpx.AsyncClient,
    service: LocalJobService,
    storage: AudioStorage,
    written: str | None,
    seconds: float,
    known: tuple[int, ...],
) -> None:
    await http.post(GENERATE, json={"audio_format": "wav"})
    claim = service.claim()
    uri = storage.result_uri(claim.job.job_id, 1, 0, "wav")
    storage.write(uri, io.BytesIO(wav_bytes(seconds)))
    service.finish(claim, {"audio_codes": [written]}, (uri,))
    path = f"/v1/audio/{claim.job.job_id}/0.wav"
    answer = await http.post("/v1/music/understand", json={"src_audio_path": path})
    assert answer.status_code == 200, answer.text
    assert service.last.source is not None
    assert service.last.source.codes == known
