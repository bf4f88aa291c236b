"""Events and downloads go on where they broke, and lists go on to their end."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from acestep_client import AsyncClient, Client, NotFoundError, UnreachableError
from tests.unit.client.answers import QUEUED, RESULT, RUNNING, SUCCEEDED, Answers, Cut, refused
from tests.unit.client.conftest import Connect, done, listed


def event(number: int, job: dict[str, Any]) -> bytes:
    text = json.dumps(job, ensure_ascii=False)
    return f"id: {number}\nevent: {job['status']}\ndata: {text}\n\n".encode()


def stream(*parts: bytes, broken: bool = False) -> httpx.Response:
    headers = {"content-type": "text/event-stream"}
    if broken:
        return httpx.Response(200, headers=headers, stream=Cut(parts))
    return httpx.Response(200, headers=headers, content=b"".join(parts))


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


COMMENT = b": still here\n\n"


@pytest.mark.usefixtures("clock")
async def test_events_go_on_after_the_last_one_when_the_connection_breaks(connect: Connect) -> None:
    server = Answers(
        stream(COMMENT, event(1, QUEUED), COMMENT, event(2, RUNNING)[:40], broken=True),
        refused(503, retry_after="2"),
        httpx.ConnectError("refused"),
        stream(event(2, RUNNING)),
        stream(COMMENT, event(3, SUCCEEDED)),
    )
    job = connect(server).job("job-1")
    statuses = [snapshot.status for snapshot in await listed(job.events())]
    assert statuses == ["queued", "running", "succeeded"]
    assert job.result.metas == RESULT["metas"], "a line separator within a text ends no event"
    sent = [request.headers.get("last-event-id") for request in server.requests]
    assert sent == [None, "1", "1", "1", "2"]


@pytest.mark.usefixtures("clock")
async def test_events_of_a_job_whose_end_is_known_end(connect: Connect) -> None:
    server = Answers(stream(event(1, RUNNING), broken=True), httpx.Response(204))
    assert [job.status for job in await listed(connect(server).job("job-1").events())] == ["running"]


async def test_events_of_an_unknown_job_are_an_error(connect: Connect) -> None:
    with pytest.raises(NotFoundError):
        await listed(connect(Answers(refused(404))).job("job-1").events())


async def test_a_connection_is_closed_when_a_loop_over_events_is_left() -> None:
    closed: list[str] = []

    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Any:
            yield event(1, QUEUED)
            yield event(2, RUNNING)

        async def __aiter__(self) -> Any:
            yield event(1, QUEUED)
            yield event(2, RUNNING)

        def close(self) -> None:
            closed.append("close")

        async def aclose(self) -> None:
            closed.append("aclose")

    def server(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    events = Client("http://server", transport=httpx.MockTransport(server)).job("job-1").events()
    next(events)
    events.close()
    async_events = AsyncClient("http://server", transport=httpx.MockTransport(server)).job("job-1").events()
    await anext(async_events)
    await async_events.aclose()
    assert closed == ["close", "aclose"]


SONG = bytes(range(256)) * 40


def part_of_song(request: httpx.Request) -> httpx.Response:
    """The rest of the song that the request asks for."""
    assert request.headers["if-range"] == '"v1"'
    begin = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
    return httpx.Response(206, content=SONG[begin:], headers={"etag": '"v1"'})


def cut_song(tag: str = '"v1"', length: int = 3000) -> httpx.Response:
    return httpx.Response(200, headers={"etag": tag}, stream=Cut([SONG[:1000], SONG[1000:length]]))


@pytest.mark.usefixtures("clock")
async def test_a_download_goes_on_where_it_broke(connect: Connect, tmp_path: Path) -> None:
    server = Answers(SUCCEEDED, cut_song(), httpx.ConnectError("refused"), part_of_song)
    job = connect(server).job("job-1")
    await done(job.refresh())
    target = await done(job.songs[0].save(tmp_path / "new" / "song.mp3"))
    assert target.read_bytes() == SONG
    assert [request.headers.get("range") for request in server.requests[2:]] == ["bytes=3000-"] * 2
    assert files_in(target.parent) == ["song.mp3"]
    assert target.stat().st_mode & 0o400


@pytest.mark.usefixtures("clock")
async def test_a_song_that_has_changed_is_fetched_from_its_beginning(connect: Connect) -> None:
    server = Answers(SUCCEEDED, cut_song(tag='"old"'), httpx.Response(200, content=SONG))
    job = connect(server).job("job-1")
    await done(job.refresh())
    assert await done(job.songs[0].read()) == SONG


@pytest.mark.usefixtures("clock")
async def test_a_download_that_fails_leaves_no_file(connect: Connect, tmp_path: Path) -> None:
    server = Answers(SUCCEEDED, cut_song(), refused(404, "It has expired"))
    job = connect(server).job("job-1")
    await done(job.refresh())
    with pytest.raises(NotFoundError, match="expired"):
        await done(job.songs[0].save(tmp_path))
    assert not files_in(tmp_path)


async def test_saving_a_job_waits_for_it_and_names_songs_after_it(connect: Connect, tmp_path: Path) -> None:
    server = Answers(
        QUEUED, SUCCEEDED, httpx.Response(200, content=b"one"), httpx.Response(200, content=b"two")
    )
    files = await done(connect(server).job("job-1").save(tmp_path / "songs"))
    assert [(file.name, file.read_bytes()) for file in files] == [
        ("job-1-0.mp3", b"one"),
        ("job-1-1.mp3", b"two"),
    ]
    assert server.requests[2].url.params["token"] == "secret"


async def test_lists_go_over_all_pages_up_to_the_limit(connect: Connect) -> None:
    def page(cursor: str | None, *numbers: int) -> dict[str, Any]:
        return {"jobs": [{**QUEUED, "job_id": f"job-{n}"} for n in numbers], "next_cursor": cursor}

    server = Answers(page("a", 1, 2), page(None, 3), page("b", 4, 5), page("c", 6))
    client = connect(server)
    assert [job.id for job in await listed(client.jobs("queued"))] == ["job-1", "job-2", "job-3"]
    assert [job.id for job in await listed(client.jobs(limit=3))] == ["job-4", "job-5", "job-6"]
    asked = [dict(request.url.params) for request in server.requests]
    assert asked == [
        {"status": "queued", "limit": "100"},
        {"status": "queued", "limit": "100", "cursor": "a"},
        {"limit": "3"},
        {"limit": "1", "cursor": "b"},
    ]


@pytest.mark.usefixtures("clock")
async def test_a_stream_that_never_comes_back_is_given_up(connect: Connect) -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(UnreachableError):
        await listed(connect(away).job("job-1").events())


async def test_a_notebook_shows_a_job_and_plays_its_songs(connect: Connect) -> None:
    server = Answers(SUCCEEDED, httpx.Response(200, content=b"one"), httpx.Response(200, content=b"two"))
    job = connect(server).job("job-1")
    assert "not polled yet" in job._repr_html_()
    await done(job.refresh())
    songs = job.songs
    for song in songs:
        await done(song.read())
    player = songs[0]._repr_html_()
    assert player == '<audio controls src="data:audio/mpeg;base64,b25l"></audio>'
    shown = job._shown("")
    assert "a &lt;b&gt;song&lt;/b&gt;" in shown
    assert "secret" not in repr(songs[0])
