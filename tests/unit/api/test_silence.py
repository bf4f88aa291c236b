"""Comments in event streams in which nothing happens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from configs.settings import Settings
from serve_app.api import silence
from serve_app.api.app import create_app
from serve_app.api.routes import events
from serve_app.api.silence import COMMENT
from serve_app.edge import Edge
from serve_app.storage import AudioStorage
from tests.asgi_client import SOON, Asking, until
from tests.unit.api.conftest import LocalJobService

SHORT_SECONDS = 0.01
EVENTS = "/v1/jobs/x/events"
EVENT_STREAM = ((b"content-type", b"text/event-stream; charset=utf-8"),)


@pytest.fixture
def app(service: LocalJobService, settings: Settings, storage: AudioStorage) -> Any:
    return create_app(service, settings, storage)


def streaming(*parts: bytes, headers: Any = EVENT_STREAM) -> Any:
    """Return an application that sends parts of a response, and nothing more before its client leaves."""

    async def respond(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    return respond


async def submit(http: httpx.AsyncClient) -> str:
    answer = await http.post("/v1/music/generate", json={})
    return str(answer.json()["job_id"])


async def left(asking: Asking) -> None:
    asking.leave()
    await asyncio.wait_for(asking.answered, SOON)


@pytest.fixture(params=["edge", "application"])
async def stream(
    request: pytest.FixtureRequest, app: Any, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Asking]:
    """Return the events of a job that waits, of which the edge or the application sends the comments."""
    monkeypatch.setattr(silence if request.param == "edge" else events, "SILENCE_SECONDS", SHORT_SECONDS)
    asked = Edge(app) if request.param == "edge" else app
    asking = Asking(asked, "GET", f"/v1/jobs/{await submit(http)}/events")
    yield asking
    await left(asking)


async def test_a_silent_stream_gets_comments_and_goes_on(stream: Asking, service: LocalJobService) -> None:
    await until(lambda: stream.body.count(COMMENT) >= 3)
    service.claim()
    await until(lambda: b"event: running" in stream.body)
    *whole, _ = stream.body.split(b"\n\n")
    assert whole[0].startswith(b"event: queued\n")
    assert {part.partition(b": ")[0] for part in whole} == {b"event", b""}
    assert all(part.count(b": still here") == (not part.startswith(b"event")) for part in whole)


async def test_behind_the_edge_the_application_sends_no_comments(
    app: Any, http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SILENCE_SECONDS", SHORT_SECONDS)
    job_id = await submit(http)
    asking = Asking(Edge(app), "GET", f"/v1/jobs/{job_id}/events")
    await service.until_followed(job_id)
    await asyncio.sleep(20 * SHORT_SECONDS)
    assert COMMENT not in asking.body
    await left(asking)


@pytest.mark.parametrize(
    ("begun", "kind"),
    [(b"id: 1\n", b"text/event-stream"), (b"{}\n\n", b"application/json")],
    ids=["inside an event", "no event stream"],
)
async def test_no_comment_is_sent_where_it_would_be_read_as_something_else(
    monkeypatch: pytest.MonkeyPatch, begun: bytes, kind: bytes
) -> None:
    monkeypatch.setattr(silence, "SILENCE_SECONDS", SHORT_SECONDS)
    asking = Asking(Edge(streaming(begun, headers=[(b"content-type", kind)])), "GET", EVENTS)
    await until(lambda: asking.body == begun)
    await asyncio.sleep(20 * SHORT_SECONDS)
    assert asking.body == begun
    await left(asking)


async def test_no_comment_follows_the_end_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application may return long after its last message, when its client has read that."""
    monkeypatch.setattr(silence, "SILENCE_SECONDS", SHORT_SECONDS)
    is_over = asyncio.Event()

    async def respond(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        await send({"type": "http.response.body", "body": b"id: 1\n\n", "more_body": True})
        await is_over.wait()
        await send({"type": "http.response.body", "body": b"id: 2\n\n"})
        await asyncio.sleep(20 * SHORT_SECONDS)

    asking = Asking(Edge(respond), "GET", EVENTS)
    await until(lambda: COMMENT in asking.body)
    is_over.set()
    await asyncio.wait_for(asking.answered, SOON)
    assert asking.body.endswith(b"id: 2\n\n")


async def test_no_comment_is_sent_once_the_client_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENCE_SECONDS", SHORT_SECONDS)
    asking = Asking(Edge(streaming(b"id: 1\n\n")), "GET", EVENTS)
    await until(lambda: COMMENT in asking.body)
    await left(asking)
    body = asking.body
    await asyncio.sleep(20 * SHORT_SECONDS)
    assert asking.body == body
