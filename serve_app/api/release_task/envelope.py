"""The body of every answer of the ACE-Step API: the data, or one sentence about what went wrong.

On success `code` is 200 and `error` is null; clients test both. An error has its true HTTP status, the same
number in `code`, and its sentence in `error` and in `detail`, because each client reads only one of them.
"""

import time
from typing import Any

from starlette.responses import Response

from serve_app.api.errors import AsciiJSONResponse, Problem


def envelope(data: Any, code: int = 200, error: Any = None) -> dict[str, Any]:
    """The object around `data`. `timestamp` is in milliseconds."""
    return {"data": data, "code": code, "error": error, "timestamp": int(time.time() * 1000), "extra": None}


def answer(data: Any, **top_level: Any) -> Response:
    """A successful response. `top_level` holds keys that stand beside the envelope's own."""
    return AsciiJSONResponse({**envelope(data), **top_level})


def enveloped_problem(problem: Problem) -> Response:
    """The error body of every route but chat completions."""
    text = sentence(problem)
    body = {**envelope(None, problem.status, text), "detail": text}
    return AsciiJSONResponse(body, problem.status, dict(problem.headers))


def sentence(problem: Problem) -> str:
    """The problem in one line: "bpm: …; seed: …" for invalid fields."""
    if isinstance(problem.detail, str):
        return problem.detail
    return "; ".join(f"{_field(error)}: {error['msg']}" for error in problem.detail)


def _field(error: dict[str, Any]) -> str:
    """The name of an invalid field, without the part of the request (body, query) that it stands in."""
    return ".".join(map(str, error["loc"][1:] or error["loc"]))
