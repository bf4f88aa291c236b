"""Requests are repeated while that can help, always as the same job, and errors have types."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from acestep_client import (
    AcestepError,
    AsyncClient,
    AuthenticationError,
    BusyError,
    Client,
    ConflictError,
    IncompatibleServerError,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    Retries,
    ServerFaultError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)
from tests.unit.client.answers import (
    CANCELLED,
    FAILED,
    QUEUED,
    RESULT,
    RUNNING,
    SUBMITTED,
    SUCCEEDED,
    Answers,
    refused,
)
from tests.unit.client.conftest import Clock, Connect, done


async def test_a_submit_that_is_refused_for_now_is_repeated_as_the_same_job(
    connect: Connect, clock: Clock
) -> None:
    server = Answers(
        refused(429, "The queue is full", retry_after="7"),
        refused(503, "Away", retry_after="3"),
        httpx.ConnectError("no"),
        httpx.ReadTimeout(""),
        httpx.Response(502, text="<html>"),
        SUBMITTED,
    )
    job = await done(connect(server).generate("a song", audio_duration=10))
    assert (job.id, job.status) == ("job-1", "queued")
    keys = {request.headers["idempotency-key"] for request in server.requests}
    assert len(server.requests) == 6
    assert len(keys) == 1
    assert len({request.content for request in server.requests}) == 1
    assert clock.pauses[:2] == [7.0, 3.0]
    assert all(0 < pause <= 15 for pause in clock.pauses[2:])


async def test_two_submits_are_two_jobs_unless_they_have_one_key(connect: Connect) -> None:
    server = Answers(*[SUBMITTED] * 4)
    client = connect(server)
    for key in (None, None, "mine", "mine"):
        await done(client.generate("a song", idempotency_key=key))
    first, second, third, fourth = (request.headers["idempotency-key"] for request in server.requests)
    assert first != second
    assert third == fourth == "mine"


async def test_a_server_that_stays_away_is_given_up_after_the_patience(
    connect: Connect, clock: Clock
) -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    began = clock.now
    with pytest.raises(UnreachableError, match="refused"):
        await done(connect(away).models())
    assert 30 < clock.now - began <= 60


async def test_a_pause_that_is_longer_than_the_patience_is_not_waited_for(
    connect: Connect, clock: Clock
) -> None:
    server = Answers(refused(429, "The budget is used up", retry_after="3600"))
    with pytest.raises(BusyError, match="budget") as told:
        await done(connect(server).generate("a song"))
    assert told.value.retry_after == 3600
    assert clock.pauses == []


@pytest.mark.usefixtures("clock")
async def test_without_patience_nothing_is_repeated(connect: Connect) -> None:
    server = Answers(refused(503))
    with pytest.raises(UnavailableError):
        await done(connect(server, retries=Retries(0)).models())
    assert server.is_used_up


async def test_retry_after_may_be_a_date(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    server = Answers(refused(503, retry_after="Fri, 15 Jan 2027 08:00:20 GMT"), SUBMITTED)
    await done(connect(server).generate("a song"))
    assert clock.pauses == [20.0]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (lambda: refused(400, "Not JSON"), InvalidRequestError, "Not JSON"),
        (lambda: refused(401, "Unknown key"), AuthenticationError, "Unknown key"),
        (lambda: refused(403, "Another origin"), AuthenticationError, "origin"),
        (lambda: refused(404, "Job not found"), NotFoundError, "Job not found"),
        (lambda: refused(409, "It has ended"), ConflictError, "ended"),
        (lambda: refused(413, "Too large"), InvalidRequestError, "Too large"),
        (lambda: refused(500, "Internal server error"), ServerFaultError, "Internal"),
        (lambda: httpx.Response(404, text="nginx"), NotFoundError, "not from acestep-serve"),
        (lambda: httpx.Response(200, text="<html>"), IncompatibleServerError, "does the address lead to"),
        (lambda: httpx.Response(200, json={"job_id": 5}), IncompatibleServerError, "job_id"),
    ],
)
async def test_other_errors_are_raised_at_once_with_their_type(
    connect: Connect, answer: Callable[[], httpx.Response], kind: type[AcestepError], message: str
) -> None:
    server = Answers(answer())
    with pytest.raises(kind, match=message) as told:
        await done(connect(server).generate("a song"))
    assert type(told.value) is kind
    assert server.is_used_up


async def test_a_refused_request_says_what_is_wrong_with_which_field(connect: Connect) -> None:
    detail = [
        {"loc": ["body", "bpm"], "msg": "Input should be at most 300", "type": "less_than_equal"},
        {"loc": ["body", "metas", "key"], "msg": "There is no such field", "type": "extra_forbidden"},
        {"loc": ["body"], "msg": "There are 9 more errors", "type": "more_errors"},
    ]
    with pytest.raises(InvalidRequestError, match="bpm: Input should be at most 300") as told:
        await done(connect(Answers(refused(422, detail))).generate("a song", bpm=999))
    assert [(problem.field, problem.message) for problem in told.value.problems] == [
        ("bpm", "Input should be at most 300"),
        ("metas.key", "There is no such field"),
        ("", "There are 9 more errors"),
    ]


async def test_misspelt_fields_are_refused_by_the_server_and_a_seed_counts(connect: Connect) -> None:
    server = Answers(SUBMITTED, SUBMITTED, SUBMITTED)
    client = connect(server)
    await done(client.generate("a song", seed=7))
    await done(client.generate("a song", seed=-1))
    await done(client.generate("a song", seed=7, use_random_seed=True))
    assert all(request.headers["x-strict"] == "1" for request in server.requests)
    bodies = [request.content.decode() for request in server.requests]
    assert '"use_random_seed":false' in bodies[0]
    assert "use_random_seed" not in bodies[1]
    assert '"use_random_seed":true' in bodies[2]


def recording(kind: str, folder: Path) -> Any:
    file = folder / "take one.wav"
    file.write_bytes(b"RIFF content")
    match kind:
        case "path":
            return file
        case "text":
            return str(file)
        case "bytes":
            return b"RIFF content"
        case "open file":
            return file.open("rb")
        case "file in memory":
            return io.BytesIO(b"RIFF content")
        case "file that is read to its middle":
            opened = io.BytesIO(b"head RIFF content")
            opened.seek(5)
            return opened
    return Unrewindable(b"RIFF content")


class Unrewindable(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize(
    "kind",
    [
        "path",
        "text",
        "bytes",
        "open file",
        "file in memory",
        "file that is read to its middle",
        "file that cannot be rewound",
    ],
)
@pytest.mark.usefixtures("clock")
async def test_recordings_are_sent_whole_with_each_attempt(
    connect: Connect, tmp_path: Path, kind: str
) -> None:
    server = Answers(refused(503, retry_after="1"), httpx.WriteError("broke"), SUBMITTED)
    upload = recording(kind, tmp_path)
    await done(
        connect(server).cover(
            upload, "louder", cover_nofsq=True, timesteps=[1.0, 0.5], bpm=None, audio_duration=2.5
        )
    )
    for request in server.requests:
        body = request.content
        assert b"RIFF content\r\n" in body
        assert b"head" not in body
        assert b"take one" not in body, "the names of the user's files are nobody's business"
        for name, value in (("cover_nofsq", "true"), ("timesteps", "[1.0, 0.5]"), ("task_type", "cover")):
            assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in body
        assert b'"bpm"' not in body
    if kind in ("open file", "file in memory"):
        assert not upload.closed


async def test_a_song_of_the_server_is_named_and_not_sent(connect: Connect) -> None:
    server = Answers(SUBMITTED, SUCCEEDED, SUBMITTED, SUBMITTED)
    client = connect(server)
    job = await done(client.generate("a song"))
    await done(job.wait())
    await done(client.repaint(job.songs[1], "softer", start=2, end=5))
    assert b'"src_audio_path":"/v1/audio/job-1/1.mp3"' in server.requests[2].content
    assert b'"repainting_start":2,"repainting_end":5' in server.requests[2].content
    await done(client.understand("/v1/audio/job-1/0.mp3"))
    assert server.requests[3].url.path == "/below/v1/music/understand"


async def test_what_is_no_recording_is_told_before_anything_is_sent(connect: Connect, tmp_path: Path) -> None:
    client = connect(Answers())
    with pytest.raises(FileNotFoundError):
        await done(client.cover(tmp_path / "missing.wav"))
    with pytest.raises(TypeError, match="a path, bytes or an open file, not int"):
        await done(client.cover(5))
    with pytest.raises(TypeError, match="binary"):
        await done(client.cover(io.StringIO("text")))


@pytest.mark.usefixtures("clock")
async def test_a_wait_shows_the_progress_and_returns_the_result(connect: Connect) -> None:
    server = Answers(QUEUED, httpx.ReadError("the server restarts"), RUNNING, SUCCEEDED)
    shown: list[str] = []
    job = connect(server).job("job-1")
    result = await done(job.wait(lambda now: shown.append(f"{now.stage} {now.progress:.0%}")))
    assert shown == ["queued 0%", "denoising 50%", "done 100%"]
    assert (result.bpm, job.has_ended, job.result) == (90, True, result)
    assert [song.name for song in job.songs] == ["job-1-0.mp3", "job-1-1.mp3"]
    assert "wait" not in server.requests[0].url.params
    assert server.requests[1].url.params["wait"] == "1"


async def test_a_wait_for_nobody_asks_rarely(connect: Connect) -> None:
    server = Answers(QUEUED, SUCCEEDED)
    await done(connect(server).job("job-1").wait())
    assert server.requests[1].url.params["wait"] == "30"
    assert server.requests[1].extensions["timeout"]["read"] > 30


async def test_listeners_of_the_asynchronous_client_may_be_coroutines() -> None:
    shown: list[str] = []

    async def show(now: Any) -> None:
        shown.append(now.status)

    client = AsyncClient("http://server", transport=httpx.MockTransport(Answers(SUCCEEDED)))
    await client.job("job-1").wait(show)
    assert shown == ["succeeded"]


async def test_a_job_that_does_not_succeed_is_an_error_with_the_job(connect: Connect) -> None:
    with pytest.raises(JobFailedError, match="ran out of memory") as told:
        await done(connect(Answers(FAILED)).job("job-1").wait())
    assert told.value.snapshot.stage == "denoising"
    with pytest.raises(JobCancelledError, match="job-1 was cancelled"):
        await done(connect(Answers(CANCELLED)).job("job-1").wait())
    failed = connect(Answers(FAILED, FAILED)).job("job-1")
    await done(failed.refresh())
    with pytest.raises(JobFailedError):
        await done(failed.save())


async def test_a_wait_that_takes_too_long_ends_and_the_job_goes_on(connect: Connect, clock: Clock) -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        clock.now += float(request.url.params.get("wait", 0))
        return httpx.Response(200, json=RUNNING)

    began = clock.now
    with pytest.raises(WaitTimeoutError, match="still running after 70 s"):
        await done(connect(slow).job("job-1").wait(timeout=70))
    assert clock.now - began == 70
    assert issubclass(WaitTimeoutError, TimeoutError)


async def test_ids_cannot_lead_elsewhere(connect: Connect) -> None:
    server = Answers(RUNNING)
    await done(connect(server).job("../stats?x=1").refresh())
    assert server.requests[0].url.raw_path == b"/below/v1/jobs/..%2Fstats%3Fx%3D1"


async def test_keys_come_from_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACESTEP_API_KEY", "of the environment")
    monkeypatch.setenv("ACESTEP_URL", "https://music.example")
    for key, sent in ((None, "of the environment"), ("given", "given")):
        server = Answers(QUEUED)
        with Client(api_key=key, transport=httpx.MockTransport(server)) as client:
            client.job("job-1").refresh()
        assert server.requests[0].headers["authorization"] == f"Bearer {sent}"
        assert str(server.requests[0].url) == "https://music.example/v1/jobs/job-1"


@pytest.mark.parametrize("address", ["music.example", "ftp://music.example", "http://", "localhost:8001"])
def test_an_address_that_is_none_is_told_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="http or https"):
        Client(address)


async def test_a_later_server_may_say_more_and_an_earlier_one_less(connect: Connect) -> None:
    more = {**SUCCEEDED, "weather": 5.0, "result": {**RESULT, "mood": ["warm"]}}
    less = {name: value for name, value in RUNNING.items() if name != "eta_seconds"}
    client = connect(Answers(more, less))
    snapshot = await done(client.job("job-1").refresh())
    assert snapshot.model_extra == {"weather": 5.0}
    assert (await done(client.job("job-1").refresh())).eta_seconds is None


async def test_the_key_is_not_sent_to_where_the_songs_are(connect: Connect) -> None:
    elsewhere = "https://bucket.example/song?signature=x"
    server = Answers(
        SUCCEEDED, httpx.Response(302, headers={"location": elsewhere}), httpx.Response(200, content=b"ID3")
    )
    job = connect(server, api_key="secret").job("job-1")
    await done(job.refresh())
    assert await done(job.songs[0].read()) == b"ID3"
    assert server.requests[1].headers["authorization"] == "Bearer secret"
    assert "authorization" not in server.requests[2].headers
