"""The addresses of songs, `/v1/audio?path=`, and songs of this server as sources."""

import re
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from deployments.common.audio_formats import FORMATS
from serve_app.api.release_task.songs import song_named, song_url
from serve_app.storage import AudioStorage
from tests.audio import write_recording
from tests.unit.api.release_task.conftest import CONTENT, Finish, Submit, query

JOB = "5ab44406-5bac-8474-8c95-ae6ccb73b96f"
VALUE = f"/tmp/acestep-serve/{JOB}/0.mp3"
FILE = f"/v1/audio?path={VALUE}"
FORMS = [
    VALUE,
    quote(VALUE, safe=""),
    FILE,
    f"/v1/audio?path={quote(VALUE, safe='')}",
    quote(FILE, safe=""),
    f"/api{FILE}",
    f"/v1/audio/?path={VALUE}",
    f"/v1/audio?ai_token=K&path={quote(VALUE, safe='')}&x=1",
    f"http://server/api/v1/audio/?x=1&path={VALUE}",
    f"http://server{FILE}",
    f"https://music.example:8001/api/v1/audio?path={quote(VALUE, safe='')}",
    f"/v1/audio/{JOB}/0.mp3",
    f"http://server/v1/audio/{JOB}/0.mp3",
    f"/v1/audio/{JOB}/0.mp3?token=1.{'a' * 43}",
    f"/tmp/acestep-serve/{JOB}/1795929597-{'a' * 43}/0.mp3",
]
NONE = [
    "",
    "0.mp3",
    "/etc/passwd",
    "/tmp/song.mp3",
    f"/tmp/acestep-serve/{JOB}/../{JOB}/0.mp3",
    f"/tmp/acestep-serve/{JOB}/0.mp3/",
    f"/tmp/acestep-serve/{JOB}/x/0.mp3",
    f"/v1/audio?path=/v1/audio?path={VALUE}",
    "/v1/audio?path=",
    f"ftp://server{FILE}",
    f"{VALUE}\n",
    f"{VALUE}#x",
    "/" * 5_000,
    "http://[",
]


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


@pytest.fixture
def audio_in(shared_audio_in: Path) -> Path:
    return shared_audio_in


@pytest.mark.parametrize("text", FORMS)
def test_a_song_in_each_form_of_its_address(text: str) -> None:
    song = song_named(text)
    assert song is not None
    assert song.path == f"/v1/audio/{JOB}/0.mp3"


@pytest.mark.parametrize("text", NONE)
def test_what_names_no_song(text: str) -> None:
    assert song_named(text) is None


def test_addresses_are_plain() -> None:
    url = song_url(f"/v1/audio/{JOB}/0.mp3", None)
    assert url == FILE
    assert re.fullmatch("[A-Za-z0-9_./?=-]+", url)


@pytest.fixture
async def song(http: httpx.AsyncClient, submit: Submit, finish: Finish) -> str:
    """The file of a finished song, as a row gives it."""
    await submit({})
    (row,) = await query(http, finish())
    return str(row["items"][0]["file"])


async def test_downloads_by_each_form_of_the_address(http: httpx.AsyncClient, song: str) -> None:
    value = song.partition("?path=")[2]
    job_path = value.replace("/tmp/acestep-serve", "/v1/audio")
    for path in (value, quote(value, safe=""), song, f"http://server{song}", job_path):
        for answer in (
            await http.get("/v1/audio", params={"path": path}),
            await http.post("/v1/audio", json={"path": path}),
            await http.post("/v1/audio", data={"path": path}),
            await http.get("/api/v1/audio", params={"path": path}),
        ):
            assert (answer.status_code, answer.content) == (200, CONTENT)
    assert (await http.get(song)).content == (await http.get(f"/api{song}")).content == CONTENT
    assert (await http.get("/v1/audio/", params={"path": value})).status_code == 200


async def test_headers_of_a_download(http: httpx.AsyncClient, song: str) -> None:
    answer = await http.get(song)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert re.fullmatch(r'inline; filename="[0-9a-f-]+-0\.mp3"', answer.headers["content-disposition"])
    part = await http.get(song, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, CONTENT[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(CONTENT)}"
    same = await http.get(song, headers={"If-None-Match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    head = await http.head(song)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(CONTENT)), b"")
    beyond = await http.get(song, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, 416)


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_the_address_ends_in_the_true_extension(
    http: httpx.AsyncClient, submit: Submit, finish: Finish, audio_format: str
) -> None:
    await submit({"audio_format": audio_format})
    (row,) = await query(http, finish())
    file = row["items"][0]["file"]
    assert file.endswith(f"/0.{FORMATS[audio_format].extension}")
    assert (await http.get(file)).headers["content-type"] == FORMATS[audio_format].media_type


async def test_all_that_is_no_song_of_ours_gets_the_same_answer(
    http: httpx.AsyncClient, song: str, tmp_path: Path
) -> None:
    real = tmp_path / "real.mp3"
    real.write_bytes(CONTENT)
    value = song.partition("?path=")[2]
    bodies = set()
    for path in (
        *NONE[1:],
        str(real),
        VALUE,
        value.replace("/0.mp3", "/1.mp3"),
        value.replace("/0.mp3", "/0.wav"),
        value.replace("/0.mp3", "/00.mp3"),
    ):
        answer = await http.get("/v1/audio", params={"path": path})
        assert answer.status_code == 404, path
        bodies.add(answer.json()["detail"])
        assert (await http.post("/v1/audio", json={"path": path})).status_code == 404
    assert bodies == {"Audio file not found"}


@pytest.mark.parametrize(
    "request_", [("GET", {}), ("GET", {"params": {"path": ""}}), ("POST", {"json": {}}), ("POST", {})]
)
async def test_a_missing_path_is_a_422(
    http: httpx.AsyncClient, request_: tuple[str, dict[str, object]]
) -> None:
    method, options = request_
    answer = await http.request(method, "/v1/audio", **options)
    assert (answer.status_code, answer.json()["error"]) == (422, "path: Field required")


async def test_songs_of_this_server_are_sources(
    http: httpx.AsyncClient, storage: AudioStorage, submit: Submit, finish: Finish, tmp_path: Path
) -> None:
    await submit({})
    job_id = finish()
    recording = write_recording(tmp_path / "song.mp3", 2.0)
    storage.write(storage.result_uri(job_id, 1, 0, "mp3"), recording.open("rb"))
    (row,) = await query(http, job_id)
    file = row["items"][0]["file"]
    value = file.partition("?path=")[2]
    for name in ("src_audio_path", "ctx_audio_path", "sourceAudioPath", "srcAudioPath"):
        spec = await submit({"task_type": "cover", name: value})
        assert spec.source is not None
    for path in (file, f"http://server{file}", quote(file, safe=""), f"/v1/audio/{job_id}/0.mp3"):
        spec = await submit({"task_type": "cover", "src_audio_path": path})
        assert spec.source is not None
    for name in ("reference_audio_path", "ref_audio_path", "refAudioPath"):
        assert (await submit({name: value})).reference is not None


async def test_paths_that_may_not_be_read_get_the_same_answer(
    http: httpx.AsyncClient, audio_in: Path, submit: Submit
) -> None:
    write_recording(audio_in / "song.wav", 2.0)
    assert (await submit({"task_type": "cover", "src_audio_path": str(audio_in / "song.wav")})).source
    details = set()
    for path in (
        "/etc/passwd",
        "/no/such/file.wav",
        "song.wav",
        str(audio_in / "none.wav"),
        VALUE,
        FILE,
        "/tmp/x",
    ):
        answer = await http.post("/release_task", json={"task_type": "cover", "src_audio_path": path})
        assert answer.status_code == 422
        details.add(answer.json()["detail"])
    assert details == {"src_audio_path: The server has no such audio for you: upload the file instead"}
