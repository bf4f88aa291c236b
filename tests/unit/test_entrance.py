"""Requests begin a few at a time, and addresses take turns."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from serve_app import edge
from serve_app.edge import Edge
from serve_app.entrance import AT_ONCE, Entrance
from tests.asgi_client import until


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Server:
    """An application behind the edge that notes which requests have begun, and answers when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.answering = asyncio.Event()
        self.ending = asyncio.Event()
        self.edge = Edge(self)

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        self.begun.append(scope["path"])
        await self.answering.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.ending.wait()
        await send({"type": "http.response.body", "body": b""})

    def ask(
        self, path: str, method: str = "GET", query: bytes = b"", host: str = "10.0.0.1"
    ) -> asyncio.Task[None]:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [],
            "client": (host, 1),
        }

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(_message: MutableMapping[str, Any]) -> None: ...

        return asyncio.create_task(self.edge(scope, receive, send))


@pytest.fixture
def server() -> Server:
    return Server()


async def test_requests_begin_a_few_at_a_time_and_the_next_one_when_an_answer_begins(server: Server) -> None:
    asked = [server.ask(f"/v1/jobs/{index}") for index in range(3 * AT_ONCE)]
    await settled()
    assert server.begun == [f"/v1/jobs/{index}" for index in range(AT_ONCE)]
    server.answering.set()
    await settled()
    assert len(server.begun) == 3 * AT_ONCE
    server.ending.set()
    await asyncio.gather(*asked)


@pytest.mark.parametrize("path", ["/health", "/ready", "/-/healthz"])
async def test_a_question_whether_the_server_works_does_not_wait(server: Server, path: str) -> None:
    asked = [server.ask("/v1/stats") for _ in range(2 * AT_ONCE)]
    await settled()
    asked.append(server.ask(path))
    await settled()
    assert server.begun[AT_ONCE:] == [path]
    for request in asked:
        request.cancel()


@pytest.mark.parametrize(
    ("method", "query", "hold"),
    [
        ("GET", b"wait=30", "HOLD_SECONDS"),
        ("POST", b"", "HOLD_SECONDS"),
        ("GET", b"", "STUCK_SECONDS"),
    ],
    ids=["long polls", "submits", "requests without an answer"],
)
async def test_requests_that_wait_let_others_in(
    server: Server, monkeypatch: pytest.MonkeyPatch, method: str, query: bytes, hold: str
) -> None:
    for name in ("HOLD_SECONDS", "STUCK_SECONDS"):
        monkeypatch.setattr(edge, name, 0.01 if name == hold else 3600.0)
    asked = [server.ask("/v1/jobs/a", method, query) for _ in range(3 * AT_ONCE)]
    await until(lambda: len(server.begun) == 3 * AT_ONCE)
    for request in asked:
        request.cancel()


async def test_addresses_take_turns() -> None:
    entrance, entered = Entrance(), []

    async def enter(address: str) -> None:
        await entrance.enter(address)
        entered.append(address)

    crowd = [asyncio.create_task(enter("crowd")) for _ in range(AT_ONCE + 10)]
    await settled()
    one = asyncio.create_task(enter("one"))
    await settled()
    assert entered == ["crowd"] * AT_ONCE
    for _ in range(11):
        entrance.leave()
    await asyncio.gather(*crowd, one)
    assert entered.index("one") == AT_ONCE + 1


async def test_the_addresses_of_one_ipv6_network_share_their_turns(server: Server) -> None:
    """A customer with one network of this size has 2^64 addresses."""
    asked = [server.ask("/crowd", host=f"2001:db8:1:2::{number:x}") for number in range(AT_ONCE + 10)]
    await settled()
    one = server.ask("/one", host="2001:db8:1:3::1")
    await settled()
    assert server.begun == ["/crowd"] * AT_ONCE
    for request in asked[:2]:
        request.cancel()
    await settled()
    assert server.begun[AT_ONCE:] == ["/crowd", "/one"]
    for request in (*asked, one):
        request.cancel()


async def test_who_leaves_while_waiting_takes_no_place(server: Server) -> None:
    begun = [server.ask("/v1/stats") for _ in range(AT_ONCE)]
    await settled()
    impatient = server.ask("/v1/models")
    await settled()
    patient = server.ask("/v1/jobs")
    await settled()
    impatient.cancel()
    await settled()
    begun[0].cancel()
    await settled()
    assert server.begun[AT_ONCE:] == ["/v1/jobs"]
    for request in (*begun[1:], patient):
        request.cancel()
