"""A client of an ASGI application that sends its body, reads and disconnects under the control of a test."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

SOON = 30.0
"""Seconds after which a wait that would otherwise never end fails."""


class Asking:
    """One request. The test decides when its client sends the rest of the body and when it disconnects."""

    def __init__(
        self, app: Any, method: str, path: str, headers: dict[str, str] | None = None, **scope: Any
    ) -> None:
        path, _, query = path.partition("?")
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.asked_for_more = 0
        self.begun = asyncio.Event()
        fields = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            **scope,
        }
        self.answered = asyncio.create_task(app(fields, self._receive, self._send))

    def send(self, body: bytes, more: bool = True) -> None:
        self.inbox.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.inbox.put_nowait({"type": "http.disconnect"})

    async def _receive(self) -> dict[str, Any]:
        self.asked_for_more += 1
        return await self.inbox.get()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        self.body += message.get("body", b"")
        self.begun.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110, nobody else tells
            await asyncio.sleep(0.005)
