"""Answers that take long: they hold a slot of their client, and end as soon as the client has gone."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.access.capacity import ClientSlots

FLOW_EXTENSION = "acestep.flow"
"""In `scope["extensions"]` where the receiver is told by messages of type `SENT` how many bytes were sent."""
SENT = "acestep.sent"
WINDOW_BYTES = 2 << 20
"""So much of an answer may be under way, where it is known how much the client has taken."""

_Result = TypeVar("_Result")


class SlotResponse(StreamingResponse):
    """A streamed answer that takes one of its client's slots until the client has read it all, or left.

    Where the client has no slot left it raises CapacityError before anything is sent.
    """

    def __init__(
        self, content: AsyncGenerator[bytes, None], slots: ClientSlots, client: str, **options: Any
    ) -> None:
        super().__init__(content, **options)
        self._content = content
        self._slots = slots
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._slots.taken(self._client):
            async with aclosing(self._content):
                if FLOW_EXTENSION in scope.get("extensions", {}):
                    window = _Window(receive, send)
                    receive, send = window.receive, window.send
                leaving = asyncio.create_task(_until_client_leaves(receive))
                sending = asyncio.create_task(self.stream_response(send))
                try:
                    await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
                    if sending.done():
                        sending.result()
                        # Serve's proxy still holds what the client has not read.
                        await leaving
                finally:
                    await _cancelled(leaving, sending)


class _Window:
    """Holds an answer back while too much of it is under way to the client."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._under_way = 0
        self._taken = asyncio.Event()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == SENT:
            self._under_way -= message["bytes"]
            self._taken.set()
        return message

    async def send(self, message: Message) -> None:
        body = message.get("body", b"")
        while body and self._under_way and self._under_way + len(body) > WINDOW_BYTES:
            self._taken.clear()
            await self._taken.wait()
        self._under_way += len(body)
        await self._send(message)


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of work for a request without a body.

    Raises ClientDisconnect, and ends the work, once the client has left. Serve cancels such requests, too,
    unless the client has told it not to.
    """
    leaving = asyncio.create_task(_until_client_leaves(request.receive))
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({leaving, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        await _cancelled(leaving, working)


async def _until_client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
