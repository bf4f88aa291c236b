"""Downloads of songs: the right type, ranges, and finished songs only."""

import io
from collections.abc import Awaitable, Callable

import httpx
import pytest

from deployments.common.audio_formats import FORMATS
from serve_app.api.ranges import UnsatisfiableRangeError, byte_range
from serve_app.storage import BLOCK_BYTES, AudioStorage
from tests.unit.api.conftest import LocalJobService

CONTENT = bytes(range(256)) * 8 + b"end"
MakeSong = Callable[..., Awaitable[str]]


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


@pytest.fixture
def song(http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage) -> MakeSong:
    """Return a function that puts a finished song on the server and returns its URL."""

    async def make(audio_format: str = "mp3", content: bytes = CONTENT) -> str:
        await http.post("/v1/music/generate", json={"audio_format": audio_format})
        claim = service.claim()
        job_id = claim.job.job_id
        uri = storage.result_uri(job_id, claim.job.attempt, 0, audio_format)
        storage.write(uri, io.BytesIO(content))
        service.finish(claim, {}, (uri,))
        return f"/v1/audio/{job_id}/0.{FORMATS[audio_format].extension}"

    return make


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_a_song_is_served_with_its_type_and_name(
    http: httpx.AsyncClient, song: MakeSong, audio_format: str
) -> None:
    url = await song(audio_format)
    answer = await http.get(url)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == FORMATS[audio_format].media_type
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["accept-ranges"] == "bytes"
    job_id, name = url.split("/")[-2:]
    assert answer.headers["content-disposition"] == f'inline; filename="{job_id}-{name}"'


async def test_a_large_song_comes_whole_and_in_parts(http: httpx.AsyncClient, song: MakeSong) -> None:
    content = bytes(range(251)) * (3 * BLOCK_BYTES // 251)
    url = await song("wav", content)
    assert (await http.get(url)).content == content
    part = await http.get(url, headers={"Range": f"bytes=10-{2 * BLOCK_BYTES + 9}"})
    assert part.content == content[10 : 2 * BLOCK_BYTES + 10]


async def test_a_range_is_served_as_206(http: httpx.AsyncClient, song: MakeSong) -> None:
    answer = await http.get(await song(), headers={"Range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (206, CONTENT[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(CONTENT)}"
    assert answer.headers["content-length"] == "10"


async def test_a_range_behind_the_end_is_416(http: httpx.AsyncClient, song: MakeSong) -> None:
    answer = await http.get(await song(), headers={"Range": f"bytes={len(CONTENT)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert answer.json()["detail"]


async def test_conditional_requests(http: httpx.AsyncClient, song: MakeSong) -> None:
    url = await song()
    etag = (await http.get(url)).headers["etag"]
    assert (await http.get(url, headers={"If-None-Match": etag})).status_code == 304
    assert (await http.get(url, headers={"If-None-Match": '"other"'})).status_code == 200
    for condition, status in ((etag, 206), ('"other"', 200)):
        answer = await http.get(url, headers={"Range": "bytes=0-0", "If-Range": condition})
        assert answer.status_code == status


async def test_two_songs_have_different_etags(http: httpx.AsyncClient, song: MakeSong) -> None:
    first, second = await song(), await song()
    assert (await http.get(first)).headers["etag"] != (await http.get(second)).headers["etag"]


async def test_head_tells_the_size_without_the_song(http: httpx.AsyncClient, song: MakeSong) -> None:
    answer = await http.head(await song())
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    "change",
    [("/0.", "/1."), (".mp3", ".wav"), ("/0.", "/00."), ("/0.", "/-1."), ("/0.", "/٠."), ("/0.", "/zero.")],
)
async def test_other_names_are_unknown(
    http: httpx.AsyncClient, song: MakeSong, change: tuple[str, str]
) -> None:
    answer = await http.get((await song()).replace(*change))
    assert (answer.status_code, answer.json()) == (404, {"detail": "Audio file not found"})


async def test_unfinished_and_swept_songs_are_unknown(
    http: httpx.AsyncClient, song: MakeSong, storage: AudioStorage
) -> None:
    url = await song()
    storage.delete_job(url.split("/")[-2])
    assert (await http.get(url)).status_code == 404
    waiting = (await http.post("/v1/music/generate", json={})).json()["job_id"]
    assert (await http.get(f"/v1/audio/{waiting}/0.mp3")).status_code == 404


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("BYTES=1-2", (1, 3)),
        ("bytes=1-2,5-6", None),
        ("bytes=9-5", None),
        ("bytes=a-b", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("seconds=1-2", None),
        ("bytes=" + "9" * 5_000 + "-", None),
    ],
)
def test_ranges(header: str | None, part: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_unsatisfiable_ranges(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        byte_range(header, 100)
