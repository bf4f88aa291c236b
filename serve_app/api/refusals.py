"""The form of errors: it depends on the path alone, whichever part of the server refuses a request.

The job API has paths of its own, and the studio's count as such. All others belong to the ACE-Step API, also
those that nothing serves, and so do all behind its prefix.
"""

import re

from starlette.responses import Response

from serve_app.api.errors import Problem, detail_alone
from serve_app.api.intake.body import CHAT
from serve_app.api.release_task.chat.answer import chat_problem
from serve_app.api.release_task.envelope import enveloped_problem

PREFIX = "/api"
"""Behind it stand all paths of the ACE-Step API once more."""

_JOB_API = re.compile(
    r"(/(v1/music|v1/jobs|v1/batches|v1/usage|studio|mcp|llms\.txt|ready|docs|redoc|openapi\.json)(/.*)?"
    r"|/v1/audio/.+)?"
)


def refusal(path: str, problem: Problem) -> Response:
    """The answer to a request for `path` that is refused."""
    if is_of_job_api(path):
        return detail_alone(problem)
    return chat_problem(problem) if without_prefix(path) == CHAT else enveloped_problem(problem)


def is_of_job_api(path: str) -> bool:
    """Whether a path belongs to the job API."""
    return _JOB_API.fullmatch(path.rstrip("/")) is not None


def without_prefix(path: str) -> str:
    """A path of the ACE-Step API without its prefix and without slashes at its end."""
    is_behind = path == PREFIX or path.startswith(f"{PREFIX}/")
    return (path.removeprefix(PREFIX) if is_behind else path).rstrip("/") or "/"
