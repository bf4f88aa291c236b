"""The OpenAPI document: what all routes have in common, and its compression."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.routing import APIRoute
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.errors import error_responses

DOCUMENT = "/openapi.json"
_WAYS_TO_SEND_A_KEY = {
    "HTTPBearer": HTTPBearer(),
    "APIKeyHeader": APIKey(**{"in": APIKeyIn.header}, name="X-API-Key"),
}


def document_errors(app: FastAPI, routers: Sequence[APIRouter], need_keys: bool) -> None:
    """Add to the document of each route of `routers` the errors that any of them may answer with.

    Where callers need keys, the document also says how a key is sent.
    """
    generate = app.openapi
    paths = {route.path for router in routers for route in router.routes if isinstance(route, APIRoute)}
    responses = {
        str(status): response
        for status, response in error_responses(503, *([401] if need_keys else [])).items()
    }

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generate()
        operations = [
            operation
            for path in paths & document["paths"].keys()
            for operation in document["paths"][path].values()
        ]
        for operation in operations:
            operation["responses"] = responses | operation["responses"]
            if need_keys:
                operation["security"] = [{name: []} for name in _WAYS_TO_SEND_A_KEY]
        if need_keys:
            document["components"]["securitySchemes"] = {
                name: way.model_dump(mode="json", by_alias=True, exclude_none=True)
                for name, way in _WAYS_TO_SEND_A_KEY.items()
            }
        return document

    app.openapi = openapi  # type: ignore[method-assign]


class CompressedDocument:
    """ASGI middleware that compresses the document for clients that accept it, and no other answer.

    The studio loads the document at each start.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressing = GZipMiddleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_document = scope["type"] == "http" and scope["path"] == DOCUMENT
        await (self._compressing if is_document else self._app)(scope, receive, send)
