"""ASGI middleware: the OpenAPI document is compressed, because the studio loads it at each start."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

DOCUMENT = "/openapi.json"


class CompressedDocument:
    """Compresses the document for clients that accept it, and leaves all other answers alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressing = GZipMiddleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_document = scope["type"] == "http" and scope["path"] == DOCUMENT
        await (self._compressing if is_document else self._app)(scope, receive, send)
