"""The exit codes of `acestep`."""

from acestep_client.errors import (
    AcestepError,
    AuthenticationError,
    BusyError,
    ConflictError,
    IncompatibleServerError,
    InvalidRequestError,
    JobError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)

DONE, FAILED, WRONG_USAGE, UNREACHABLE, KEY, UNKNOWN, LATER, TIMEOUT = range(8)
INTERRUPTED = 130
MEANINGS = {
    DONE: "done",
    FAILED: "the job failed or was cancelled, or a file cannot be written",
    WRONG_USAGE: "wrong usage, or the server refuses the request as it is",
    UNREACHABLE: "the server cannot be reached, or is another program",
    KEY: "the API key is missing, unknown or not allowed to do this",
    UNKNOWN: "there is no such job, or it has ended already",
    LATER: "the server is too busy, or a part of it is away: try again later",
    TIMEOUT: "the job has not ended in time, and goes on",
    INTERRUPTED: "interrupted; a job that was waited for has been cancelled",
}
_CODES: tuple[tuple[type[AcestepError], int], ...] = (
    (JobError, FAILED),
    (InvalidRequestError, WRONG_USAGE),
    (UnreachableError, UNREACHABLE),
    (IncompatibleServerError, UNREACHABLE),
    (AuthenticationError, KEY),
    (NotFoundError, UNKNOWN),
    (ConflictError, UNKNOWN),
    (BusyError, LATER),
    (UnavailableError, LATER),
    (WaitTimeoutError, TIMEOUT),
)


def exit_code_of(error: AcestepError) -> int:
    """Return the exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
