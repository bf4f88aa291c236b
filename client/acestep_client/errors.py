"""The exceptions of the client. All of them are an `AcestepError`."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from acestep_client.answers import JobSnapshot


class AcestepError(Exception):
    """Base of all exceptions of this client. Its text is a sentence for users."""

    is_passing = False
    """Whether the same request may succeed a little later."""
    retry_after: float | None = None
    """Seconds after which the server says to try again."""


class UnreachableError(AcestepError):
    """The server could not be reached, or the connection broke before the answer was complete."""

    is_passing = True


class IncompatibleServerError(AcestepError):
    """The answer is none that this client understands: another program, or another version."""


class RefusedError(AcestepError):
    """The server answered with an error."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.retry_after = retry_after


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a request."""

    field: str
    """The name of the field; of a nested one with dots, such as `metas.bpm`. Empty for the body itself."""
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidRequestError(RefusedError):
    """The request is wrong (400, 413, 415, 422). Repeating it does not help."""

    def __init__(self, status: int, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(status, message)
        self.problems = problems
        """The problems of the request, by field, where the server names them."""


class AuthenticationError(RefusedError):
    """The API key is missing, unknown, or not allowed to do this (401, 403, 421)."""


class NotFoundError(RefusedError):
    """The job or song does not exist, has expired, or belongs to another client (404)."""


class ConflictError(RefusedError):
    """The job has ended already, or the idempotency key was used for another request (409)."""


class BusyError(RefusedError):
    """The queue is full, or this client has too much in it (429)."""

    is_passing = True


class UnavailableError(RefusedError):
    """A part of the server cannot serve at the moment (408, 502, 503, 504)."""

    is_passing = True


class ServerFaultError(RefusedError):
    """The server failed (500). Its operator finds the reason in its log."""


class JobError(AcestepError):
    """A job did not make what it was asked for."""

    def __init__(self, message: str, snapshot: JobSnapshot) -> None:
        super().__init__(message)
        self.snapshot = snapshot
        """The job as it ended."""


class JobFailedError(JobError):
    """The job failed."""


class JobCancelledError(JobError):
    """The job was cancelled."""


class WaitTimeoutError(AcestepError, TimeoutError):
    """The job has not ended within the time that was given to `wait`. It goes on."""


_BY_STATUS: dict[int, type[RefusedError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    408: UnavailableError,
    409: ConflictError,
    421: AuthenticationError,
    429: BusyError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def refusal(response: httpx.Response) -> RefusedError:
    """Return the exception for an answer that is an error. Its body has been read."""
    status, retry_after = response.status_code, _seconds(response.headers.get("retry-after"))
    detail = _detail(response)
    if detail is None:
        message = f"HTTP {status}, and not from acestep-serve: is the address right?"
        return _BY_STATUS.get(status, RefusedError)(status, message, retry_after)
    if isinstance(detail, list):
        problems = tuple(map(_problem, detail))
        return InvalidRequestError(status, "; ".join(map(str, problems)), problems)
    if status in _BY_STATUS:
        return _BY_STATUS[status](status, str(detail), retry_after)
    if status >= 500:
        return ServerFaultError(status, str(detail))
    return InvalidRequestError(status, str(detail))


def _detail(response: httpx.Response) -> Any:
    """The `detail` of the server's own errors; None for what another program answered."""
    try:
        body = response.json()
    except ValueError:
        return None
    return body.get("detail") if isinstance(body, dict) else None


def _problem(entry: Any) -> Problem:
    if not isinstance(entry, dict):
        return Problem("", str(entry))
    place = [str(name) for name in entry.get("loc", ()) if name != "body"]
    return Problem(".".join(place), str(entry.get("msg", "")))


def _seconds(retry_after: str | None) -> float | None:
    """The seconds in a `Retry-After`, which is a number or a date."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
