"""What a failure means: whether another try can help, and what the user is told."""

import re
import traceback
from dataclasses import dataclass

import ray.exceptions
import ray.serve.exceptions

from configs.metrics import FailureKind
from deployments.common.errors import EngineError, JobError, StorageError
from serve_app.jobs.storing.store import StoreError

INTERNAL = "The server could not finish this job because of an internal error."
UNAVAILABLE = "A part of the server that this job needs was not available."

_UNAVAILABLE = (
    OSError,  # of the storage or a network, timeouts among them
    StoreError,
    EngineError,
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.TaskCancelledError,
    ray.exceptions.RaySystemError,
    ray.serve.exceptions.BackPressureError,
    ray.serve.exceptions.DeploymentUnavailableError,
    ray.serve.exceptions.RequestCancelledError,
)
_REMOTE_FRAME = re.compile(r'^ *File "[^"\n]*", line \d+, in .*$', re.MULTILINE)


class TimeLimitError(JobError):
    """An attempt took longer than the server allows."""


@dataclass(frozen=True)
class Failure:
    """`message` is one sentence for the user, without paths, tracebacks or anybody's text."""

    message: str
    retryable: bool
    kind: FailureKind


def cause_of(error: BaseException) -> BaseException:
    """The exception that a deployment raised, out of Ray's wrapping."""
    if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        return cause_of(error.cause)
    return error


def is_unavailable(error: BaseException) -> bool:
    """Whether a part of the server was missing, which is no fault of the job."""
    return isinstance(cause_of(error), _UNAVAILABLE)


def classify(error: BaseException) -> Failure:
    """What to do with a job that failed with `error`."""
    cause = cause_of(error)
    if isinstance(cause, JobError):
        kind: FailureKind = "timeout" if isinstance(cause, TimeLimitError) else "request"
        return Failure(str(cause), retryable=False, kind=kind)
    if isinstance(cause, _UNAVAILABLE):
        return Failure(UNAVAILABLE, retryable=True, kind="unavailable")
    return Failure(INTERNAL, retryable=False, kind="internal")


def frames_of(error: BaseException) -> str:
    """Where an error came from, for the log: types and frames, but no messages, which may quote users.

    Those of the storage name only what is stored where.
    """
    lines = []
    link: BaseException | None = error
    while link is not None:
        cause = cause_of(link)
        lines.append(f"{type(cause).__name__}:" + (f" {cause}" if isinstance(cause, StorageError) else ""))
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in _frames(link)]
        if isinstance(link, ray.exceptions.RayTaskError):
            # Its text is the remote traceback; what Serve raises has no `traceback_str`.
            lines += [f"  remote: {frame.strip()}" for frame in _REMOTE_FRAME.findall(str(link))]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(lines)


def _frames(error: BaseException) -> traceback.StackSummary:
    return traceback.extract_tb(error.__traceback__)
