"""ASGI middleware: errors of Ray Serve's proxy get the form of the API that was asked.

The proxy answers by itself, in plain text, before the application is deployed and where no replica can take a
request, and it answers nothing where a replica dies over one. The application answers no error in plain text.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.errors import RETRY_SECONDS, later
from serve_app.api.refusals import refusal

OF_SERVE = "/-/"
"""Beginning of the paths that Serve's proxy serves itself."""
STARTING = "The server is starting"
LOST = "The server lost the process that worked on the request"
BUSY = "No process of the server can take the request"
PROBLEMS = {404: STARTING, 408: LOST, 429: BUSY, 503: BUSY}
"""The meaning of a status that the proxy sets; while an application is deployed, it has every path."""


class ServeErrors:
    """Passes the answers of the application on, and gives those of the proxy another form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OF_SERVE):
            await self._app(scope, receive, send)
            return
        begun = False
        sentence: str | None = None

        async def passed_on(message: Message) -> None:
            nonlocal begun, sentence
            if message["type"] == "http.response.start":
                sentence = _sentence_for(message)
                begun = sentence is None
            if begun:
                await send(message)

        await self._app(scope, receive, passed_on)
        if not begun:
            problem = later(503, sentence or LOST, RETRY_SECONDS)
            await refusal(scope["path"], problem)(scope, receive, send)


def _sentence_for(start: Message) -> str | None:
    """The problem to tell in the place of an answer of the proxy; None for the application's answers."""
    content_type = Headers(raw=start["headers"]).get("content-type", "")
    return PROBLEMS.get(start["status"]) if content_type.startswith("text/plain") else None
