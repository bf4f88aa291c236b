"""Long responses, which end as soon as the client disconnects. They hold slots, which are limited."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractContextManager, aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

FLOW_EXTENSION = "acestep.flow"
"""Key in `scope["extensions"]` where messages of type `SENT` report how many bytes were sent."""
SENT = "acestep.sent"
WINDOW_BYTES = 2 << 20
"""Bytes of a response that may be in flight where the extension reports what the client has read."""

_Result = TypeVar("_Result")


class WatchedResponse(StreamingResponse):
    """A streamed response that ends when it was read or the client disconnects."""

    def __init__(self, content: AsyncGenerator[bytes, None], **options: Any) -> None:
        super().__init__(content, **options)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
                    # Serve's proxy still buffers what the client has not read.
                    await leaving
            finally:
                await _cancelled(leaving, sending)


class SlotResponse(WatchedResponse):
    """A watched response that holds a slot while it lasts (`Slots.taken`, `ClientSlots.taken`).

    Raises CapacityError before anything is sent where there is no slot left.
    """

    def __init__(
        self, content: AsyncGenerator[bytes, None], slot: AbstractContextManager[None], **options: Any
    ) -> None:
        super().__init__(content, **options)
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._slot:
            await super().__call__(scope, receive, send)


class _Window:
    """Flow control: delays a response while too many of its bytes are in flight."""

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

    Once the client has disconnected, the work is cancelled and ClientDisconnect is raised. Serve cancels such
    requests too, unless the client has sent a header against it.
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
