"""Errors have the form of the API that was asked, whichever part of the server refuses the request."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from configs.settings import Settings
from serve_app.api.access.guard import MAX_HEADER_BYTES
from serve_app.api.access.keys import KEYS_VARIABLE, digest_of
from serve_app.api.intake.body import MAX_CHAT_BYTES, MAX_TEXT_BYTES
from serve_app.edge import Edge
from serve_app.jobs.mode import Mode
from tests.asgi_client import Asking, until
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.shared_app import SharedApp

KEY = "acestep-alice"
PATHS = {
    "/v1/music/generate": "detail",
    "/release_task": "envelope",
    "/api/release_task/": "envelope",
    "/v1/chat/completions": "chat",
    "/api/v1/chat/completions": "chat",
}
"""A route of each form of errors, also as it is written with the prefix or a slash."""
JSON = {"Content-Type": "application/json"}
CHAT_BODY = {"messages": [{"role": "user", "content": "a song"}]}


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a key, one name and small limits."""
    monkeypatch.setenv(KEYS_VARIABLE, str([{"name": "alice", "sha256": digest_of(KEY)}]))
    changes = {
        "hosts": ("server",),
        "client_requests": 2,
        "uploads_bytes": 4_000_000,
    }
    api = settings.api.model_copy(update=changes)
    jobs = settings.jobs.model_copy(update={"queue_limit": 1})
    return settings.model_copy(update={"api": api, "jobs": jobs})


@pytest.fixture
def server(shared_app: SharedApp, settings: Settings) -> Any:
    """The application behind the edge of a proxy. All tests share it."""
    return Edge(shared_app(settings))


@pytest.fixture
async def http(server: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(server, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers) as client:
        yield client


def check(answer: httpx.Response, path: str, status: int) -> None:
    """The answer has the status, and its body the form of the path's API."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    if status in {429, 503}:
        assert int(answer.headers["retry-after"]) >= 1
    if PATHS[path] == "detail":
        assert body.keys() == {"detail"}
        return
    assert body.keys() == {"data", "code", "error", "detail", "timestamp", "extra"}
    assert (body["data"], body["code"]) == (None, status)
    assert isinstance(body["timestamp"], int)
    sentence = body["detail"]
    assert isinstance(sentence, str)
    if PATHS[path] == "envelope":
        assert body["error"] == sentence
    else:
        assert {name: body["error"][name] for name in ("message", "param", "code")} == {
            "message": sentence,
            "param": None,
            "code": status,
        }
        assert body["error"]["type"].endswith("_error")


each_path = pytest.mark.parametrize("path", PATHS)


@each_path
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer acestep-mallory"}, 401),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Host": "elsewhere.example"}, 421),
        ({"X-Note": "a" * MAX_HEADER_BYTES}, 431),
    ],
)
async def test_what_headers_are_refused_for(
    http: httpx.AsyncClient, path: str, headers: dict[str, str], status: int
) -> None:
    check(await http.post(path, json=CHAT_BODY, headers=headers), path, status)


@each_path
async def test_bodies_that_are_too_large(http: httpx.AsyncClient, path: str) -> None:
    """The edge sees a declared length, and the application counts what comes."""
    large = (MAX_CHAT_BYTES if PATHS[path] == "chat" else MAX_TEXT_BYTES) + 1
    declared = {**JSON, "Content-Length": str(large)}
    check(await http.post(path, headers=declared), path, 413)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield bytes(MAX_TEXT_BYTES)

    # A chat may be larger than the largest upload that these settings allow.
    check(await http.post(path, content=pieces(), headers=JSON), path, 413)


@each_path
@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": b"{", "headers": JSON}, 400),
        ({"content": b"words", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"json": {**CHAT_BODY, "audio_format": "midi"}}, 422),
    ],
)
async def test_bodies_that_cannot_be_used(
    http: httpx.AsyncClient, path: str, options: dict[str, Any], status: int
) -> None:
    check(await http.post(path, **options), path, status)


@each_path
async def test_a_body_that_does_not_come(shared_app: SharedApp, settings: Settings, path: str) -> None:
    api = settings.api.model_copy(update={"body_timeout_seconds": 0.05})
    server = Edge(shared_app(settings.model_copy(update={"api": api})))
    headers = {**JSON, "Host": "server", "Authorization": f"Bearer {KEY}", "Content-Length": "9"}
    asking = Asking(server, "POST", path, headers)
    await asking.answered
    check(httpx.Response(asking.status or 0, headers=asking.headers, content=asking.body), path, 408)


@each_path
async def test_a_full_queue(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.post("/release_task", json={"prompt": "a"})).status_code == 200
    check(await http.post(path, json=CHAT_BODY), path, 429)


@each_path
async def test_a_client_with_too_many_open_bodies(server: Any, http: httpx.AsyncClient, path: str) -> None:
    headers = {**JSON, "Host": "server", "Authorization": f"Bearer {KEY}", "Content-Length": "9"}
    held = [Asking(server, "POST", path, headers, client=("127.0.0.1", 1)) for _ in range(2)]
    await until(lambda: all(asking.asked_for_more for asking in held))
    check(await http.post(path, json=CHAT_BODY), path, 429)
    for asking in held:
        asking.leave()
        await asking.answered


@each_path
async def test_a_server_that_is_draining(
    http: httpx.AsyncClient, service: LocalJobService, path: str
) -> None:
    service.tracker.mode = Mode.DRAINING
    check(await http.post(path, json=CHAT_BODY), path, 503)


@each_path
async def test_a_fault_of_ours(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(LocalJobService, "submit", fail)
    check(await http.post(path, json=CHAT_BODY), path, 500)


@each_path
async def test_a_method_that_a_route_does_not_take(http: httpx.AsyncClient, path: str) -> None:
    check(await http.put(path), path, 405)


# What Serve's proxy answers by itself


@each_path
@pytest.mark.parametrize("status", [404, 429, 503, None])
async def test_what_the_proxy_answers_without_the_application(path: str, status: int | None) -> None:
    """It knows no application yet, has no replica that is free, or lost one over the request."""

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        if status is not None:
            await PlainTextResponse("Path '/x' not found. Ping …", status)(scope, receive, send)

    transport = httpx.ASGITransport(Edge(proxy))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        answer = await client.post(path, json=CHAT_BODY)
    check(answer, path, 503)
    assert "Ping" not in answer.text


async def test_the_paths_of_the_proxy_itself_are_left_alone() -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Edge(PlainTextResponse("draining", 503))), base_url="http://server"
    ) as client:
        assert (await client.get("/-/healthz")).text == "draining"


async def test_every_documented_route_is_reached(http: httpx.AsyncClient) -> None:
    documented = (await http.get("/openapi.json")).json()["paths"]
    for path, operations in documented.items():
        for method in operations:
            answer = await http.request(method, path)
            assert answer.status_code != 405
            assert "Not Found" not in answer.text, (method, path)
