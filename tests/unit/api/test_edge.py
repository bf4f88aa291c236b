"""Slow readers, and headers that Serve would take as commands."""

import asyncio
import io
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
        seen.append(scope["headers"])

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
