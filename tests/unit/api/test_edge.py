"""Slow readers, and headers that Serve would take as commands."""

import asyncio
import io
import uuid
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.api.intake.body import MAX_TEXT_BYTES
from serve_app.api.streams import FLOW_EXTENSION, SENT, WINDOW_BYTES
from serve_app.edge import Edge, middlewares
from serve_app.storage import BLOCK_BYTES, AudioStorage
from tests.asgi_client import SOON, Asking, until
from tests.unit.api.conftest import LocalJobService

SONG_BYTES = 3 * WINDOW_BYTES


@pytest.fixture
def app(service: LocalJobService, settings: Settings, storage: AudioStorage) -> Any:
    return create_app(service, settings, storage)


@pytest.fixture
async def song(http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage) -> str:
    """Return the path of a long song."""
    await http.post("/v1/music/generate", json={})
    claim = service.claim()
    uri = storage.result_uri(claim.job.job_id, 1, 0, "mp3")
    storage.write(uri, io.BytesIO(bytes(SONG_BYTES)))
    service.finish(claim, {}, (uri,))
    return f"/v1/audio/{claim.job.job_id}/0.mp3"


async def test_an_answer_waits_for_a_reader_that_is_slow(app: Any, song: str) -> None:
    asking = Asking(app, "GET", song, extensions={FLOW_EXTENSION: {}})
    taken = 0

    def is_held_back() -> bool:
        return len(asking.body) in {SONG_BYTES, taken + WINDOW_BYTES}

    while taken < SONG_BYTES:
        await until(is_held_back)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert is_held_back()
        taken_now = len(asking.body) - taken
        taken = len(asking.body)
        asking.inbox.put_nowait({"type": SENT, "bytes": taken_now})
    asking.leave()
    await asyncio.wait_for(asking.answered, SOON)


async def test_the_edge_tells_what_a_client_has_read(app: Any, song: str) -> None:
    """A client stops reading and continues later. Between it and the application is an unlimited buffer."""
    reading, gone = asyncio.Event(), asyncio.Event()
    received = produced = 0

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal received
        if received >= WINDOW_BYTES:
            await reading.wait()
        received += len(message.get("body", b""))

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def serve(scope: Any, receive_from_edge: Any, send_to_edge: Any) -> None:
        buffer: asyncio.Queue[Any] = asyncio.Queue()

        async def put(message: MutableMapping[str, Any]) -> None:
            nonlocal produced
            produced += len(message.get("body", b""))
            buffer.put_nowait(message)

        async def forward() -> None:
            while True:
                await send_to_edge(await buffer.get())

        forwarding = asyncio.create_task(forward())
        await app(scope, receive_from_edge, put)
        forwarding.cancel()

    scope = {"type": "http", "method": "GET", "path": song, "query_string": b"", "headers": []}
    serving = asyncio.create_task(Edge(serve)(scope, receive, send))
    await until(lambda: received >= WINDOW_BYTES)
    for _ in range(100):
        await asyncio.sleep(0.001)
    assert WINDOW_BYTES <= produced <= received + WINDOW_BYTES + BLOCK_BYTES < SONG_BYTES
    reading.set()
    await until(lambda: received == SONG_BYTES)
    gone.set()
    await asyncio.wait_for(serving, SOON)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/audio/x/0.mp3", True),
        ("/v1/chat/completions", True),
        ("/api/v1/chat/completions/", True),
        ("/music/v1/chat/completions", True),
        ("/v1/jobs/x", False),
    ],
)
async def test_what_is_told_how_much_of_its_answer_was_read(path: str, told: bool) -> None:
    seen: list[bool] = []

    async def serve(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(FLOW_EXTENSION in scope.get("extensions", {}))

    asking = Asking(Edge(serve), "POST", path)
    await asyncio.wait_for(asking.answered, SOON)
    assert seen == [told]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        (b"x-request-disconnect-disabled", b"?1", False),
        (b"X-Request-Timeout-Seconds", b"1e-9", False),
        (b"serve_multiplexed_model_id", b"a", False),
        (b"serve-multiplexed-model-id", b"a", False),
        (b"X-Session-Id", b"a", False),
        (b"x-request-id", b"x" * 65, False),
        (b"x-request-id", b"\xff\x01", False),
        (b"x-request-id", b"0f8fad5b-d9cb-469f-a165-70867728950e", True),
        (b"traceparent", b"00-1-2-01", True),
        (b"authorization", b"Bearer key", True),
    ],
)
async def test_orders_to_serve_end_at_the_edge(name: bytes, value: bytes, kept: bool) -> None:
    seen: list[Any] = []

    async def serve(scope: Any, _receive: Any, _send: Any) -> None:
        made = [] if kept and name == b"x-request-id" else [b"x-request-id"]
        seen.append([header for header in scope["headers"] if header[0] not in made])

    (middleware,) = middlewares()
    edge = middleware.cls(serve, *middleware.args, **middleware.kwargs)
    scope = {"type": "http", "path": "/-/healthz", "headers": [(name, value), (b"host", b"server")]}
    await edge(scope, None, None)
    assert seen == [[*([(name, value)] if kept else []), (b"host", b"server")]]
    assert len(scope["headers"]) == 2


@pytest.mark.parametrize(
    ("content_type", "size", "status"),
    [
        ("application/json", MAX_TEXT_BYTES + 1, 413),
        ("application/json", MAX_TEXT_BYTES, 200),
        ("multipart/form-data; boundary=cut", MAX_TEXT_BYTES + 1, 200),
    ],
)
async def test_a_text_that_says_it_is_too_large_does_not_get_to_serve(
    content_type: str, size: int, status: int
) -> None:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await Response()(scope, receive, send)

    headers = {"Content-Type": content_type, "Content-Length": str(size)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(Edge(serve)), base_url="http://edge") as http:
        answer = await http.post("/v1/music/generate", headers=headers)
    assert answer.status_code == status
    if status == 413:
        assert answer.json() == {"detail": f"The request body is larger than {MAX_TEXT_BYTES:,} bytes"}


# Request ids


async def asked(
    app: Any, path: str = "/v1/jobs/x", **headers: str
) -> tuple[Asking, list[tuple[bytes, bytes]]]:
    """Ask through the edge; return the answer, and the headers that the application saw."""
    seen: list[tuple[bytes, bytes]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await app(scope, receive, send)

    asking = Asking(Edge(inner), "POST" if "content_length" in headers else "GET", path, {
        name.replace("_", "-"): value for name, value in headers.items()
    })  # fmt: skip
    asking.leave()
    await asyncio.wait_for(asking.answered, SOON)
    return asking, seen


async def test_each_answer_has_the_id_of_its_request(app: Any) -> None:
    asking, seen = await asked(app, x_request_id="mine-1")
    assert asking.headers["x-request-id"] == "mine-1"
    assert (b"x-request-id", b"mine-1") in seen


@pytest.mark.parametrize("given", [None, "a b", "x" * 65, "ü"])
async def test_a_request_without_a_usual_id_gets_one(app: Any, given: str | None) -> None:
    asking, seen = await asked(app, **({} if given is None else {"x_request_id": given}))
    told = asking.headers["x-request-id"]
    assert uuid.UUID(told)
    assert [value for name, value in seen if name == b"x-request-id"] == [told.encode()]


async def test_what_the_edge_refuses_has_an_id_too(app: Any) -> None:
    asking, _ = await asked(
        app, "/v1/music/generate", content_length=str(MAX_TEXT_BYTES + 1), x_request_id="q"
    )
    assert (asking.status, asking.headers["x-request-id"]) == (413, "q")
