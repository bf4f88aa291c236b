"""What a failure means: whether another try can help, and what the user is told."""

import asyncio
from dataclasses import dataclass

import ray.exceptions
import ray.serve.exceptions

from deployments.errors import EngineError, JobError

INTERNAL = "The server could not finish this job because of an internal error."
UNAVAILABLE = "A part of the server that this job needs was not available."

_UNAVAILABLE = (
    TimeoutError,
    asyncio.TimeoutError,
    EngineError,
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.serve.exceptions.BackPressureError,
    ray.serve.exceptions.DeploymentUnavailableError,
)


@dataclass(frozen=True)
class Failure:
    """`message` is one sentence for the user, without paths, tracebacks or anybody's text."""

    message: str
    retryable: bool


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
        return Failure(str(cause), retryable=False)
    if isinstance(cause, _UNAVAILABLE):
        return Failure(UNAVAILABLE, retryable=True)
    return Failure(INTERNAL, retryable=False)
