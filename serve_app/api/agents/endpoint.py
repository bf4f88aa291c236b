"""`POST /mcp`: the Model Context Protocol, by which agents use the server.

This endpoint identifies the caller, holds one of their slots and bounds the body, as every other one does.
The SDK then speaks the protocol. It keeps no sessions, because a server has several Ingress replicas, and any
of them may get a client's next call: progress travels on the answer to the call itself.
"""

import asyncio
import json
from typing import TYPE_CHECKING

from fastapi import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.access.callers import Callers
from serve_app.api.access.capacity import ClientSlots
from serve_app.api.agents.calls import CALLER, Calls
from serve_app.api.intake.body import BodyReader

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"


class AgentsEndpoint:
    """An ASGI application for the path `/mcp`.

    The SDK is imported at the first call, on a thread: that takes more than a second of processor time, and
    most servers never need it.
    """

    def __init__(self, calls: Calls, callers: Callers, bodies: BodyReader, slots: ClientSlots) -> None:
        self._calls = calls
        self._callers = callers
        self._bodies = bodies
        self._slots = slots
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        caller = self._callers.identify(request)
        if request.method != "POST":
            raise HTTPException(405, "This server keeps no sessions: POST is all there is", {"Allow": "POST"})
        with self._slots.taken(caller.client.name):
            async with self._bodies.read(request) as body:
                content = json.dumps(body.values).encode()
            manager = await self._started()
            await manager.handle_request({**scope, CALLER: caller}, _again(content, receive), send)

    async def close(self) -> None:
        """End all calls."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _started(self) -> "StreamableHTTPSessionManager":
        """The SDK's part. The first call starts it; all calls wait for that."""
        if self._manager is None:
            self._manager = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._manager))
        return await asyncio.shield(self._manager)

    async def _run(self, started: "asyncio.Future[StreamableHTTPSessionManager]") -> None:
        try:
            manager = await asyncio.to_thread(self._new_manager)
            async with manager.run():
                started.set_result(manager)
                await asyncio.Event().wait()
        except Exception as error:
            self._manager = None  # the next call tries again
            if started.done():
                raise
            started.set_exception(error)

    def _new_manager(self) -> "StreamableHTTPSessionManager":
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from serve_app.api.agents.protocol import mcp_server

        return StreamableHTTPSessionManager(mcp_server(self._calls), stateless=True)


def _again(content: bytes, receive: Receive) -> Receive:
    """A channel that gives a body that was read, and then what comes after it: the client's departure."""
    given = False

    async def received() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return received
