"""Error responses: always JSON with a `detail`, and never internals of the server."""

import json
import logging
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.common.errors import StorageError
from serve_app.api.access.capacity import CapacityError
from serve_app.api.quotas import quota_headers
from serve_app.api.service import UnavailableError
from serve_app.jobs.errors import (
    DrainingError,
    IdempotencyConflictError,
    JobEndedError,
    LimitError,
    NoRoomError,
)
from serve_app.jobs.storing.store import StoreError

logger = logging.getLogger("ray.serve")

RETRY_SECONDS = 5.0
"""`Retry-After` of a 503; a job tracker restarts within seconds."""
NO_ROOM_RETRY_SECONDS = 30.0
"""`Retry-After` where the disk or the job store is full; a guess, since the real time is unknown."""
DRAINING_RETRY_SECONDS = 60.0
"""`Retry-After` of a draining server; a guess, since the real time is unknown."""
MAX_ERRORS = 20
"""Errors per response. Where there are more, the last entry counts the omitted ones."""
MAX_NAME_LENGTH = 100
MAX_MESSAGE_LENGTH = 1_000
"""Characters of a name and of a message in a response. Names come from the client and may be very long."""


class AsciiJSONResponse(JSONResponse):
    """A JSON response in ASCII: what clients sent may contain surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


@dataclass(frozen=True)
class Problem:
    """An error that clients are told about, before it has the form of a response body."""

    status: int
    detail: str | list[dict[str, Any]]
    """One sentence; for invalid fields (422) a list of them, in FastAPI's form."""
    headers: Mapping[str, str] = field(default_factory=dict)


AnswerProblem = Callable[[str, Problem], Response]
"""Makes the response to a problem of a request, by the request's path."""


def detail_alone(problem: Problem) -> Response:
    """The error body of the job API: an object with `detail`."""
    return AsciiJSONResponse({"detail": problem.detail}, problem.status, dict(problem.headers))


def unknown_fields(paths: Iterator[tuple[str, ...]]) -> RequestValidationError | None:
    """A validation error (422) for unknown names, given as paths below the body; None without any."""
    # Only the shown ones are kept: there may be 100,000, and so many would trigger the garbage collector.
    named = list(islice(paths, MAX_ERRORS))
    count = len(named) + sum(1 for _ in paths)
    if not count:
        return None
    details = [
        {"loc": ("body", *path), "msg": "There is no such field", "type": "extra_forbidden"}
        for path in named[: _shown(count)]
    ]
    return RequestValidationError([*details, *_left_out(count)])


def _shown(errors: int) -> int:
    """Number of errors that a response names out of `errors`."""
    return errors if errors <= MAX_ERRORS else MAX_ERRORS - 1


def _left_out(errors: int) -> list[dict[str, Any]]:
    """The entry that counts the errors that are not named; empty where all are."""
    if errors <= MAX_ERRORS:
        return []
    message = f"There are {errors - _shown(errors):,} more errors"
    return [{"loc": ("body",), "msg": message, "type": "more_errors"}]


def _cut(text: Any, length: int) -> Any:
    return f"{text[:length]}…" if isinstance(text, str) and len(text) > length else text


def _described(error: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "loc": [_cut(name, MAX_NAME_LENGTH) for name in error["loc"]],
        "msg": _cut(error["msg"], MAX_MESSAGE_LENGTH),
        "type": error["type"],
    }


def add_error_handlers(app: FastAPI, answer: AnswerProblem) -> None:
    """Register handlers for the exceptions that routes raise. `answer` gives the errors their form."""
    app.add_middleware(InternalErrors, answer=answer)

    async def expected(request: Request, error: Exception) -> Response:
        return answer(request.scope["path"], problem_of(error))

    for kind in EXPECTED:
        app.add_exception_handler(kind, expected)

    @app.exception_handler(ClientDisconnect)
    async def client_left(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # the client is gone and will not read it


def problem_of(error: Exception) -> Problem:
    """The problem to tell clients about, for one of the `EXPECTED` exceptions. Faults are logged."""
    match error:
        case RequestValidationError():
            errors = error.errors()
            named = [*errors[: _shown(len(errors))], *_left_out(len(errors))]
            return Problem(422, list(map(_described, named)))
        case HTTPException():
            return Problem(error.status_code, str(error.detail), error.headers or {})
        case CapacityError():
            return later(error.status, error.message, error.retry_after)
        case LimitError():
            refused = later(429, error.message, error.retry_after)
            return replace(refused, headers={**refused.headers, **quota_headers(error.quotas)})
        case DrainingError():
            return later(503, "The server takes no new jobs at the moment", DRAINING_RETRY_SECONDS)
        case NoRoomError():
            return later(503, error.message, NO_ROOM_RETRY_SECONDS)
        case IdempotencyConflictError():
            return Problem(409, "This Idempotency-Key was used for another request within the last 24 hours")
        case JobEndedError():
            return Problem(409, f"The job has already {error.state}")
        case StoreError() | UnavailableError():
            logger.warning("a request could not be answered: %s", type(error).__name__)
            return later(503, "The server cannot reach its jobs at the moment", RETRY_SECONDS)
        case StorageError():
            logger.error("the audio storage failed: %s", error)
            return later(503, "The server cannot reach its audio files at the moment", RETRY_SECONDS)
        case OSError():
            # As in `execution.failures`, this counts as a fault of the machine that a retry may not meet.
            logger.error("the operating system refused something:\n%s", places_of(error))
            return later(503, "The server cannot use its files at the moment", RETRY_SECONDS)
    raise error


EXPECTED: tuple[type[Exception], ...] = (
    RequestValidationError,
    HTTPException,
    CapacityError,
    LimitError,
    DrainingError,
    NoRoomError,
    IdempotencyConflictError,
    JobEndedError,
    StoreError,
    UnavailableError,
    StorageError,
    OSError,
)
"""The exceptions of routes that `problem_of` describes."""


def later(status: int, problem: str, seconds: float) -> Problem:
    """A problem that is gone after some seconds."""
    whole_seconds = str(max(1, math.ceil(seconds)))
    return Problem(status, f"{problem}; try again in {whole_seconds} s", {"Retry-After": whole_seconds})


class InternalErrors:
    """ASGI middleware: unexpected exceptions are answered with 500, and their types and locations are logged.

    The disconnect of a client is not such an exception. Messages of exceptions may quote requests, so they
    are logged at debug level only. (Starlette's handler passes the exception to the server, which logs all of
    it.)
    """

    def __init__(self, app: ASGIApp, answer: AnswerProblem) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def received() -> Message:
            try:
                return await receive()
            except Exception:
                # Serve asks its proxy for the next message; that call is cancelled once the client has left.
                return {"type": "http.disconnect"}

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, received, noted)
        except Exception as error:
            route = getattr(scope.get("route"), "path", "a request")
            logger.error("%s %s failed:\n%s", scope.get("method", ""), route, places_of(error))
            logger.debug("the exception in full", exc_info=error)
            if started:
                raise RuntimeError("the answer had begun when it failed") from None
        else:
            return
        answer = self._answer(scope["path"], Problem(500, "Internal server error"))
        await answer(scope, receive, send)


def places_of(error: BaseException) -> str:
    """The types of an exception and its causes, and their tracebacks without messages."""
    chain: list[str] = []
    current: BaseException | None = error
    while current is not None:
        chain.append("".join(traceback.format_tb(current.__traceback__)) + type(current).__name__)
        current = current.__cause__ or current.__context__
    return "\ncaused by\n".join(chain)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI descriptions of a route's error responses, by status."""
    return {status: _DOCUMENTED[status] for status in statuses}


def _documented(description: str, detail: Mapping[str, Any], retry: bool = False) -> dict[str, Any]:
    schema = {"type": "object", "required": ["detail"], "properties": {"detail": dict(detail)}}
    response = {"description": description, "content": {"application/json": {"schema": schema}}}
    if retry:
        description = "Seconds after which to try again."
        response["headers"] = {"Retry-After": {"description": description, "schema": {"type": "integer"}}}
    return response


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
    401: _documented("The API key is missing or unknown.", _SENTENCE),
    404: _documented("The job or file does not exist, has expired, or belongs to another client.", _SENTENCE),
    408: _documented("The body was sent too slowly.", _SENTENCE),
    409: _documented("The job has already ended, or the key was used for another request.", _SENTENCE),
    413: _documented("The body is larger than the server takes.", _SENTENCE),
    415: _documented("The body has none of the three supported content types.", _SENTENCE),
    416: _documented("The file has no bytes in the range that was asked for.", _SENTENCE),
    422: _documented("A field is invalid; `loc` names it.", _FIELDS),
    429: _documented("The queue is full, or the client has too much in it.", _SENTENCE, retry=True),
    503: _documented("A part of the server cannot serve at the moment.", _SENTENCE, retry=True),
}
