"""Limits on requests in flight: slots, bytes of all bodies, and no work for refused requests."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from configs.settings import ApiSettings, Settings
from serve_app.api.access.capacity import ByteBudget, CapacityError, ClientSlots, Slots
from serve_app.api.app import create_app
from serve_app.api.intake.body import CHAT
from serve_app.jobs.mode import Mode
from serve_app.storage import AudioStorage
from tests.asgi_client import SOON, Asking, until
from tests.malformed_requests import CUT
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.release_task.conftest import RESULT

GENERATE = "/v1/music/generate"
JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": CUT}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Set room for two requests of each kind, and for one and a half of the largest bodies."""
    api = {"client_requests": 2, "client_downloads": 2, "client_uploads": 2, "uploads_bytes": 6_000_000}
    return settings.model_copy(update={"api": settings.api.model_copy(update=api)})


@pytest.fixture
def app(service: LocalJobService, settings: Settings, storage: AudioStorage) -> Any:
    """Return the application that `http` calls."""
    return create_app(service, settings, storage)


@pytest.fixture
async def http(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        yield client


def start_of_upload(content: bytes = b"") -> bytes:
    return b'--cut\r\nContent-Disposition: form-data; name="src_audio"; filename="a"\r\n\r\n' + content


async def finished_song(http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage) -> str:
    await http.post(GENERATE, json={})
    claim = service.claim()
    uri = storage.result_uri(claim.job.job_id, 1, 0, "mp3")
    storage.write(uri, io.BytesIO(b"song"))
    service.finish(claim, {}, (uri,))
    return f"/v1/audio/{claim.job.job_id}/0.mp3"


# Slots


@pytest.mark.parametrize("kind", ["long poll", "events", "upload", "text", "download"])
async def test_a_client_has_so_many_slots_of_each_kind(
    kind: str, app: Any, http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage
) -> None:
    song = await finished_song(http, service, storage)
    job_id = (await http.post(GENERATE, json={})).json()["job_id"]
    method, path, headers, says = {
        "long poll": ("GET", f"/v1/jobs/{job_id}?wait=60", {}, "long polls"),
        "events": ("GET", f"/v1/jobs/{job_id}/events", {}, "event streams"),
        "upload": ("POST", GENERATE, MULTIPART, "uploads"),
        "text": ("POST", GENERATE, {"Content-Type": "application/json"}, "submits"),
        "download": ("GET", song, {}, "downloads"),
    }[kind]

    async def ask(**scope: Any) -> Asking:
        asking = Asking(app, method, path, headers, **scope)
        await until(lambda: asking.asked_for_more > 0 or asking.answered.done())
        return asking

    held = [await ask() for _ in range(2)]
    refused = await ask()
    await refused.answered
    assert refused.status == 429
    assert refused.headers["retry-after"] == "5"
    assert says in refused.body.decode()
    another = await ask(client=("203.0.113.5", 1))
    assert not another.answered.done() or another.status == 200
    held[0].leave()
    await asyncio.wait_for(held[0].answered, SOON)
    again = await ask()
    assert again.status != 429
    for asking in (held[1], another, again):
        asking.leave()
        await asyncio.wait_for(asking.answered, SOON)
    assert service.waiting == 0


async def test_all_clients_together_have_so_many_slots_and_short_requests_need_none(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    api = settings.api.model_copy(update={"open_requests": 3})
    app = create_app(service, settings.model_copy(update={"api": api}), storage)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
        job_id = (await http.post(GENERATE, json={})).json()["job_id"]
        paths = [f"/v1/jobs/{job_id}?wait=60"] * 2 + [f"/v1/jobs/{job_id}/events"]
        held = [Asking(app, "GET", path, {}) for path in paths]
        await until(lambda: all(asking.asked_for_more > 0 for asking in held))
        refused = await http.get(f"/v1/jobs/{job_id}/events", headers={"X-Forwarded-For": "203.0.113.5"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert (await http.get("/health")).is_success
        assert (await http.get(f"/v1/jobs/{job_id}")).is_success
        for asking in held:
            asking.leave()
            await asyncio.wait_for(asking.answered, SOON)
        assert (await http.get(f"/v1/jobs/{job_id}?wait=0.01")).is_success


@pytest.fixture
def crowded(service: LocalJobService, settings: Settings, storage: AudioStorage) -> Any:
    """Return an application that may have three requests open, more than a client may of one kind."""
    api = settings.api.model_copy(update={"open_requests": 3})
    return create_app(service, settings.model_copy(update={"api": api}), storage)


async def refused(app: Any, method: str, path: str, headers: dict[str, str]) -> Asking:
    """Return a request that was answered although its body has not come."""
    asking = Asking(app, method, path, headers)
    await asyncio.wait_for(asking.answered, SOON)
    return asking


async def left(*askings: Asking) -> None:
    for asking in askings:
        asking.leave()
        await asyncio.wait_for(asking.answered, SOON)


@pytest.mark.parametrize("headers", [JSON, MULTIPART], ids=["text", "upload"])
@pytest.mark.parametrize(
    "path",
    [
        "/query_result",
        "/format_input",
        "/v1/create_sample",
        "/create_random_sample",
        "/cancel_task",
        "/v1/audio",
        "/v1/init",
        "/v1/lora/status",
        "/api/query_result",
    ],
)
async def test_a_body_of_the_acestep_api_counts_among_all_open_requests(
    crowded: Any, path: str, headers: dict[str, str]
) -> None:
    """One client may have more of them than of submits: it polls its tasks by them."""
    held = [Asking(crowded, "POST", path, headers) for _ in range(3)]
    await until(lambda: all(asking.asked_for_more > 0 for asking in held))
    fourth = await refused(crowded, "POST", path, headers)
    assert (fourth.status, fourth.headers["retry-after"], fourth.asked_for_more) == (503, "5", 0)
    polled = await refused(crowded, "GET", "/v1/stats", {})
    assert polled.status == 200
    await left(held[0])
    again = Asking(crowded, "POST", path, headers)
    await until(lambda: again.asked_for_more > 0)
    await left(*held[1:], again)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_download_of_the_acestep_api_counts_among_all_open_requests(
    crowded: Any, service: LocalJobService, storage: AudioStorage, method: str
) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(crowded), base_url="http://server") as http:
        song = await finished_song(http, service, storage)

    def download() -> Asking:
        asking = Asking(crowded, method, "/v1/audio" + (f"?path={song}" if method == "GET" else ""), JSON)
        if method == "POST":
            asking.send(f'{{"path": "{song}"}}'.encode(), more=False)
        return asking

    held = [download() for _ in range(3)]
    await until(lambda: all(asking.body == b"song" for asking in held))
    fourth = download()
    await asyncio.wait_for(fourth.answered, SOON)
    assert (fourth.status, fourth.headers["retry-after"]) == (503, "5")
    head = await refused(crowded, "HEAD", f"/v1/audio?path={song}", {})
    assert head.status == 200
    await left(held[0])
    again = download()
    await until(lambda: again.body == b"song")
    await left(*held[1:], again)


def chat(app: Any, streams: bool, **scope: Any) -> Asking:
    asking = Asking(app, "POST", CHAT, JSON, **scope)
    body = {"messages": [{"role": "user", "content": "a song"}], "stream": streams}
    asking.send(json.dumps(body).encode(), more=False)
    return asking


@pytest.mark.parametrize("streams", [True, False])
async def test_a_chat_holds_a_slot_until_its_song_is_there(
    crowded: Any, service: LocalJobService, streams: bool
) -> None:
    held = [chat(crowded, streams) for _ in range(2)]
    await asyncio.wait_for(service.until_waiting(2), SOON)
    third = chat(crowded, streams)
    await asyncio.wait_for(third.answered, SOON)
    assert (third.status, third.headers["retry-after"], "chats" in third.body.decode()) == (429, "5", True)
    assert len(service.jobs) == 2
    another = chat(crowded, streams, client=("203.0.113.5", 1))
    await asyncio.wait_for(service.until_waiting(3), SOON)
    full = await refused(crowded, "POST", "/query_result", JSON)
    assert full.status == 503
    for _ in range(3):
        service.finish(service.claim(), {**RESULT, "audio_codes": []})
    if streams:  # A stream that has ended waits until its client has read it.
        await until(lambda: all(b"[DONE]" in asking.body for asking in (*held, another)))
    else:
        await asyncio.wait_for(asyncio.gather(*(asking.answered for asking in (*held, another))), SOON)
    await left(*held, another)
    again = Asking(crowded, "POST", "/query_result", JSON)
    await until(lambda: again.asked_for_more > 0)
    await left(again)


async def test_slots_are_given_back_whatever_happens() -> None:
    slots = ClientSlots("things", 1, Slots(9))
    with suppress(RuntimeError), slots.taken("me"):
        assert slots.open == 1
        raise RuntimeError
    assert slots.open == 0
    with slots.taken("me"), pytest.raises(CapacityError, match="1 things"), slots.taken("me"):
        pass
    assert slots.open == 0


async def test_a_poll_ends_with_its_client_although_the_client_forbids_it(
    app: Any, http: httpx.AsyncClient, service: LocalJobService
) -> None:
    job_id = (await http.post(GENERATE, json={})).json()["job_id"]
    asking = Asking(app, "GET", f"/v1/jobs/{job_id}?wait=60", {"X-Request-Disconnect-Disabled": "?1"})
    await until(lambda: service.waiting == 1)
    asking.leave()
    await asyncio.wait_for(asking.answered, SOON)
    assert service.waiting == 0


# Admission before work


@pytest.mark.parametrize(("mode", "status"), [(Mode.OPEN, 429), (Mode.DRAINING, 503)])
async def test_nothing_of_an_upload_is_read_where_no_job_may_enter(
    app: Any, http: httpx.AsyncClient, service: LocalJobService, mode: Mode, status: int
) -> None:
    for _ in range(3):
        await http.post(GENERATE, json={})
    service.tracker.mode = mode
    asking = Asking(app, "POST", GENERATE, {**MULTIPART, "Content-Length": "3000000"})
    await asyncio.wait_for(asking.answered, SOON)
    assert asking.status == status
    assert int(asking.headers["retry-after"]) > 0
    assert asking.asked_for_more == 0


async def test_a_path_is_not_opened_where_no_job_may_enter(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    service.tracker.mode = Mode.DRAINING
    answer = await http.post(GENERATE, json={"task_type": "cover", "src_audio_path": "/nowhere.wav"})
    assert answer.status_code == 503


async def test_an_upload_that_is_repeated_is_not_refused(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    upload = {"data": {"task_type": "cover"}, "files": {"src_audio": ("a.wav", wav_bytes())}}
    key = {"Idempotency-Key": "once"}
    first = await http.post(GENERATE, **upload, headers=key)
    service.tracker.mode = Mode.DRAINING
    again = await http.post(GENERATE, **upload, headers=key)
    assert (again.status_code, again.json()["job_id"]) == (200, first.json()["job_id"])
    assert (await http.post(GENERATE, **upload, headers={"Idempotency-Key": "new"})).status_code == 503


# The byte budget


async def test_all_bodies_together_have_room_for_so_many_bytes(app: Any) -> None:
    sent = Asking(app, "POST", GENERATE, {**MULTIPART, "Content-Length": "4000000"})
    sent.send(start_of_upload(bytes(2_500_000)))
    await until(lambda: sent.asked_for_more > 1)
    second = Asking(
        app, "POST", GENERATE, {**MULTIPART, "Content-Length": "4000000"}, client=("203.0.113.5", 1)
    )
    await asyncio.wait_for(second.answered, SOON)
    assert (second.status, second.headers["retry-after"], second.asked_for_more) == (503, "5", 0)
    undeclared = Asking(app, "POST", GENERATE, MULTIPART)
    undeclared.send(start_of_upload(bytes(3_900_000)))
    await asyncio.wait_for(undeclared.answered, SOON)
    assert undeclared.status == 503
    sent.leave()
    await asyncio.wait_for(sent.answered, SOON)
    third = Asking(app, "POST", GENERATE, {**MULTIPART, "Content-Length": "4000000"})
    await until(lambda: third.asked_for_more > 0)
    third.leave()
    await asyncio.wait_for(third.answered, SOON)


async def test_bodies_of_which_nothing_comes_take_nothing_from_the_others(app: Any) -> None:
    """Eight connections that declared the largest body and sent one line once kept all others out."""
    idle = []
    for number in range(8):
        silent = Asking(
            app,
            "POST",
            "/release_task" if number % 2 else GENERATE,
            {**MULTIPART, "Content-Length": "4000000"},
            client=(f"203.0.113.{number}", 1),
        )
        silent.send(start_of_upload())
        idle.append(silent)
    await until(lambda: all(silent.asked_for_more > 1 for silent in idle))
    user = Asking(app, "POST", GENERATE, {**MULTIPART, "Content-Length": "4000000"})
    user.send(start_of_upload(bytes(3_000_000)))
    await until(lambda: user.asked_for_more > 1)
    for asking in (*idle, user):
        asking.leave()
        await asyncio.wait_for(asking.answered, SOON)


async def test_a_chat_of_which_nothing_comes_takes_nothing_from_the_others(app: Any) -> None:
    """Chats may be as large as uploads, because they hold recordings."""
    idle = [
        Asking(app, "POST", CHAT, {**JSON, "Content-Length": "4000000"}, client=(f"203.0.113.{number}", 1))
        for number in range(8)
    ]
    await until(lambda: all(silent.asked_for_more > 0 for silent in idle))
    user = Asking(app, "POST", CHAT, {**JSON, "Content-Length": "4000000"})
    user.send(b" " * 3_900_000)
    await until(lambda: user.asked_for_more > 1)
    idle[0].send(b" " * 3_000_000)  # and what comes is counted
    await asyncio.wait_for(idle[0].answered, SOON)
    assert idle[0].status == 503
    await left(*idle[1:], user)


def test_to_ask_for_room_takes_none() -> None:
    budget = ByteBudget(10)
    with budget.share() as first, budget.share() as second:
        first.check(10)
        second.check(10)
        first.reach(6)
        first.check(10)
        with pytest.raises(CapacityError):
            second.check(5)
        second.reach(4)


def test_a_budget_comes_back_whole() -> None:
    budget = ByteBudget(10)
    with budget.share() as first:
        first.reach(4)
        first.reach(3)
        first.reach(7)
        with budget.share() as second, pytest.raises(CapacityError):
            second.reach(4)
    with budget.share() as third:
        third.reach(10)


def test_the_largest_upload_must_fit_the_budget() -> None:
    with pytest.raises(ValueError, match=r"api\.uploads_bytes"):
        ApiSettings(max_upload_bytes=10, uploads_bytes=9)
