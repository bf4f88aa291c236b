"""An ASGI middleware in Serve's HTTP proxy, which sees requests before Ray Serve does.

Serve obeys some request headers, and buffers without limit what a slow client has not read. An application
cannot change that, because its code runs behind the proxy. Serve's proxies call `middlewares` where Ray's
environment has `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.edge:middlewares`.
"""

import asyncio
from contextlib import closing

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.common.processor import collect_garbage_rarely
from serve_app.api import request_ids
from serve_app.api.access.callers import client_name_of
from serve_app.api.errors import Problem
from serve_app.api.intake.body import CHAT, check_declared_text
from serve_app.api.refusals import refusal
from serve_app.api.silence import COMMENTS_EXTENSION, Commented
from serve_app.api.streams import FLOW_EXTENSION, SENT
from serve_app.entrance import HOLD_SECONDS, STUCK_SECONDS, Entrance
from serve_app.kept_answers import KeptAnswers
from serve_app.serve_errors import ServeErrors

CONTROL_HEADERS = frozenset(
    {
        "x-request-disconnect-disabled",  # keeps a request running after its client has disconnected
        "x-request-timeout-seconds",
        "serve-multiplexed-model-id",  # makes the router wait for a replica that has this model
        "x-session-id",  # the same for session-aware routers
    }
)
"""Request headers that Serve 2.60 obeys, also when written with underscores."""
UNQUEUED = ("/health", "/ready", "/-/healthz", "/-/routes")
"""Ends of the paths whose requests do not wait at the entrance: they tell whether the server works."""
SONGS = "/v1/audio"
"""Part of the paths whose responses are subject to flow control, as those of chats are."""
EVENTS = "/events"
"""End of the paths whose responses are event streams."""
TOLD_BYTES = 512 << 10
"""Bytes sent after which the application is told."""


def middlewares() -> list[Middleware]:
    """The middlewares that Serve puts around its HTTP proxy."""
    return [Middleware(Edge)]


class Edge:
    """The middleware of one proxy.

    It drops headers that control Serve, gives each request an id, refuses text bodies that declare themselves
    too large, lets few requests begin at a time, keeps silent event streams open, sends files that never
    change, and tells the application how much of a song was sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = KeptAnswers(ServeErrors(app))
        self._entrance = Entrance()
        collect_garbage_rarely()  # here, because Serve sets a threshold before it makes its middlewares

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": [header for header in scope["headers"] if not _is_order(*header)]}
        send = _with_request_id(scope, send)
        if scope["path"].endswith(UNQUEUED):
            await self._app(scope, receive, send)
            return
        try:
            check_declared_text(HTTPConnection(scope))
        except HTTPException as error:
            # The body would pass through Serve at once, as one object, before the application refuses it.
            problem = Problem(error.status_code, error.detail)
            await refusal(scope["path"], problem)(scope, receive, send)
            return
        host, _ = scope.get("client") or ("", 0)
        await self._entrance.enter(client_name_of(host))
        beginning = _Beginning(self._entrance, send)
        try:
            beginning.ends_after(HOLD_SECONDS if _waits_on_purpose(scope) else STUCK_SECONDS)
            await self._queued(scope, receive, beginning.send)
        finally:
            beginning.end()

    async def _queued(self, scope: Scope, receive: Receive, send: Send) -> None:
        if SONGS in scope["path"] or scope["path"].rstrip("/").endswith(CHAT):
            _extend(scope, FLOW_EXTENSION)
            with closing(_SentBytes(receive, send)) as sent:
                await self._app(scope, sent.receive, sent.send)
        elif scope["path"].endswith(EVENTS):
            _extend(scope, COMMENTS_EXTENSION)
            with closing(Commented(send)) as commented:
                await self._app(scope, receive, commented.send)
        else:
            await self._app(scope, receive, send)


class _Beginning:
    """The time until a request's answer begins, which counts at the entrance."""

    def __init__(self, entrance: Entrance, send: Send) -> None:
        self._entrance = entrance
        self._send = send
        self._ended = False

    def ends_after(self, seconds: float) -> None:
        """End it after some time, though the answer has not begun."""
        asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._entrance.leave()

    async def send(self, message: Message) -> None:
        self.end()
        await self._send(message)


class _SentBytes:
    """Counts the bytes that the client has read, and adds reports of it to the application's messages."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._untold = 0
        self._news = asyncio.Event()
        self._receiving: asyncio.Task[Message] | None = None

    async def send(self, message: Message) -> None:
        await self._send(message)  # blocks while the client does not read
        self._untold += len(message.get("body", b""))
        if self._untold >= TOLD_BYTES:
            self._news.set()

    async def receive(self) -> Message:
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._receive())
        news = asyncio.create_task(self._news.wait())
        await asyncio.wait({self._receiving, news}, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        if self._receiving.done():
            received, self._receiving = self._receiving, None
            return received.result()
        self._news.clear()
        told, self._untold = self._untold, 0
        return {"type": SENT, "bytes": told}

    def close(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()


def _with_request_id(scope: Scope, send: Send) -> Send:
    """Give a request an id if it brought none, and return a `send` that tells it in each answer."""
    headers = MutableHeaders(scope=scope)
    request_id = headers.setdefault(request_ids.HEADER, request_ids.new_request_id())

    async def sent(message: Message) -> None:
        # Serve tells it in the answers that pass through it, and not in those that the edge gives.
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault(request_ids.HEADER, request_id)
        await send(message)

    return sent


def _extend(scope: Scope, extension: str) -> None:
    """Tell the application of something that is done here."""
    scope["extensions"] = {**scope.get("extensions", {}), extension: {}}


def _waits_on_purpose(scope: Scope) -> bool:
    """Whether the answer may begin late: a long poll waits for news, and a submit for its body."""
    return scope["method"] == "POST" or b"wait=" in scope.get("query_string", b"")


def _is_order(name: bytes, value: bytes) -> bool:
    """Whether Serve would obey the header.

    A request id is dropped only if its form is unusual, because Serve writes it into each line of its log.
    """
    text = name.decode("latin-1").lower().replace("_", "-")
    if text == request_ids.HEADER:
        return not request_ids.is_usual(value.decode("latin-1"))
    return text in CONTROL_HEADERS
