"""Classification of failures: whether a retry can help, and the message for the user."""

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
    OSError,  # from the storage or the network, including timeouts
    StoreError,
    EngineError,
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,  # also where the replica that stored latents has ended
    ray.exceptions.ObjectStoreFullError,
    ray.exceptions.OutOfDiskError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.TaskCancelledError,
    ray.exceptions.RaySystemError,
    ray.serve.exceptions.BackPressureError,
    ray.serve.exceptions.DeploymentUnavailableError,
    ray.serve.exceptions.RequestCancelledError,
)
_REMOTE_FRAME = re.compile(r'^ *File "[^"\n]*", line \d+, in .*$', re.MULTILINE)


class TimeLimitError(JobError):
    """An attempt exceeded `jobs.timeout_seconds`."""


@dataclass(frozen=True)
class Failure:
    """`message` is one sentence for the user. It contains no paths, tracebacks or user content."""

    message: str
    retryable: bool
    kind: FailureKind


def cause_of(error: BaseException) -> BaseException:
    """The exception that a deployment raised, without Ray's wrapper."""
    if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        return cause_of(error.cause)
    return error


def is_unavailable(error: BaseException) -> bool:
    """Whether the cause is an unavailable part of the server and not the job."""
    return isinstance(cause_of(error), _UNAVAILABLE)


def are_latents_lost(error: BaseException) -> bool:
    """Whether the replica or the node that stored latents ended before another replica read them."""
    return isinstance(cause_of(error), ray.exceptions.ObjectLostError)


def classify(error: BaseException) -> Failure:
    """The failure of a job whose attempt raised `error`."""
    cause = cause_of(error)
    if isinstance(cause, JobError):
        kind: FailureKind = "timeout" if isinstance(cause, TimeLimitError) else "request"
        return Failure(str(cause), retryable=False, kind=kind)
    if isinstance(cause, _UNAVAILABLE):
        return Failure(UNAVAILABLE, retryable=True, kind="unavailable")
    return Failure(INTERNAL, retryable=False, kind="internal")


def frames_of(error: BaseException) -> str:
    """The exception types and frames of an error, for the log.

    Messages are left out because they may quote users, except StorageError's, which name only paths and URIs.
    """
    lines = []
    link: BaseException | None = error
    while link is not None:
        cause = cause_of(link)
        lines.append(f"{type(cause).__name__}:" + (f" {cause}" if isinstance(cause, StorageError) else ""))
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in _frames(link)]
        if isinstance(link, ray.exceptions.RayTaskError):
            # The remote traceback is its text; errors from Serve have no `traceback_str`.
            lines += [f"  remote: {frame.strip()}" for frame in _REMOTE_FRAME.findall(str(link))]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(lines)


def _frames(error: BaseException) -> traceback.StackSummary:
    return traceback.extract_tb(error.__traceback__)
