"""ASGI middleware: a server under a path prefix (`route_prefix` of Serve) is the same as one without."""

from starlette.datastructures import URL, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Prefix:
    """Takes the prefix off the paths of requests, and puts it before those of redirects.

    A redirect names no host, because only the client knows whether there is TLS in front of the server.
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

        await self._app({**scope, "path": path}, receive, answer)
