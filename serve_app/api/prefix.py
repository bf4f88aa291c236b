"""ASGI middleware: a server under a path prefix (`route_prefix` of Serve) is the same as one without."""

from typing import Final

from starlette.datastructures import URL, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX_KEY: Final = "acestep.prefix"
"""Key in a request's scope of the prefix that was taken off its path."""
DOCUMENTS = ("/openapi.json", "/docs", "/redoc")
"""Paths for which FastAPI has to know the prefix, because these documents name the addresses of others."""


class Prefix:
    """Takes the prefix off the paths of requests, and puts it before those of redirects.

    The root path is taken away with it, because Starlette removes that from the path itself, and would take a
    prefix such as `/v1` off twice. A redirect names no host, because only the client knows whether there is
    TLS in front of the server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        prefix = scope.get("root_path", "")
        path = scope["path"].removeprefix(prefix)
        if not path:
            # The page's own URLs are relative, so its address has to end with a slash.
            await RedirectResponse(f"{prefix}/", 308)(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 307:
                headers = MutableHeaders(scope=message)
                url = URL(headers["location"])
                headers["location"] = prefix + url.path + (f"?{url.query}" if url.query else "")
            await send(message)

        root = prefix if path in DOCUMENTS else ""
        await self._app({**scope, "path": path, "root_path": root, PREFIX_KEY: prefix}, receive, answer)
