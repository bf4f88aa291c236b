"""How errors are answered: always JSON with a `detail`, never the server's insides."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from serve_app.jobs.tracker import QueueFullError

logger = logging.getLogger("ray.serve")


class _ErrorResponse(JSONResponse):
    def render(self, content: Any) -> bytes:
        # In ASCII, because a field's name may be text that UTF-8 cannot carry.
        return json.dumps(content).encode("ascii")


def invalid(field: str, message: str, kind: str = "value_error") -> RequestValidationError:
    """A 422 that names one field of the body."""
    return RequestValidationError([{"loc": ("body", field), "msg": message, "type": kind}])


def invalid_fields(error: ValidationError, messages: Mapping[str, str]) -> RequestValidationError:
    """What pydantic found, without the values that caused it, the first of each field.

    `messages` by field replace pydantic's own.
    """
    details: dict[str, dict[str, Any]] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(item["loc"][0])
        message = messages.get(name, item["msg"])
        details.setdefault(name, {"loc": ("body", name), "msg": message, "type": item["type"]})
    return RequestValidationError(list(details.values()))


def add_error_handlers(app: FastAPI) -> None:
    """Answer the exceptions that routes let through."""

    @app.exception_handler(RequestValidationError)
    async def unprocessable(_: Request, error: RequestValidationError) -> Response:
        details = [{key: detail[key] for key in ("loc", "msg", "type")} for detail in error.errors()]
        return _ErrorResponse({"detail": details}, status_code=422)

    @app.exception_handler(QueueFullError)
    async def queue_full(_: Request, error: QueueFullError) -> Response:
        seconds = max(1, round(error.retry_after))
        return _ErrorResponse(
            {"detail": f"The queue is full; try again in {seconds} s"},
            status_code=429,
            headers={"Retry-After": str(seconds)},
        )

    @app.exception_handler(ClientDisconnect)
    async def client_left(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(Exception)
    async def internal_error(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _ErrorResponse({"detail": "Internal server error"}, status_code=500)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI texts of the errors that a route answers with."""
    return {status: _DOCUMENTED[status] for status in statuses}


def _documented(description: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": ["detail"], "properties": {"detail": dict(detail)}}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_SENTENCE = {"type": "string"}
_FIELDS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["loc", "msg", "type"],
        "properties": {
            "loc": {"type": "array", "items": {}, "examples": [["body", "bpm"]]},
            "msg": {"type": "string"},
            "type": {"type": "string"},
        },
    },
}
_DOCUMENTED = {
    400: _documented("The body is malformed, e.g. no JSON object.", _SENTENCE),
    404: _documented("There is no such job or file, or it has expired.", _SENTENCE),
    413: _documented("The body is larger than the server takes.", _SENTENCE),
    415: _documented("The body is in none of the three content types.", _SENTENCE),
    416: _documented("The file has no bytes in the range that was asked for.", _SENTENCE),
    422: _documented("A field is invalid; `loc` names it.", _FIELDS),
    429: _documented("The queue is full; `Retry-After` says when to try again.", _SENTENCE),
    503: _documented("Some deployments cannot serve yet.", _SENTENCE),
}
