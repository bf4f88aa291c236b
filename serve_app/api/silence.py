"""Comments that keep a silent event stream open.

A comment shows proxies on the way that the connection is in use, and finds out where it is dead. The edge
sends it, because a message from the application to its client passes through several parts of Serve, each of
which takes longer than the comment itself. Without the edge the application sends it.
"""

import asyncio
from contextlib import suppress

from fastapi.sse import format_sse_event
from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send

SILENCE_SECONDS = 30.0
"""Time without an event after which a comment is sent."""
COMMENT = format_sse_event(comment="still here")
COMMENTS_EXTENSION = "acestep.comments"
"""Key in `scope["extensions"]` of a request whose event stream needs no comments of the application."""


def needs_comments(scope: Scope) -> bool:
    """Tell whether the application must send the comments of an event stream itself."""
    return COMMENTS_EXTENSION not in scope.get("extensions", {})


class Commented:
    """A `send` of ASGI that adds a comment to an event stream whenever nothing was sent for a while."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._is_stream = False
        self._is_between_events = True
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Send a message of the application."""
        if message["type"] == "http.response.start":
            kind = Headers(raw=message.get("headers", ())).get("content-type", "")
            self._is_stream = kind.startswith("text/event-stream")
        elif body := message.get("body"):
            self._is_between_events = body.endswith(b"\n\n")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.close()
        self._sent_at = self._loop.time()
        await self._send(message)
        if self._is_stream and self._timer is None:
            self._wait(SILENCE_SECONDS)

    def close(self) -> None:
        """Send no comment any more."""
        self._is_stream = False
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()

    def _wait(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        left = self._sent_at + SILENCE_SECONDS - self._loop.time()
        if left > 0:
            self._wait(left)
        else:
            self._sending = asyncio.create_task(self._comment())

    async def _comment(self) -> None:
        if self._is_between_events:
            with suppress(OSError):  # the client has gone, of which the application is told in another way
                await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        if self._is_stream:
            self._wait(SILENCE_SECONDS)
