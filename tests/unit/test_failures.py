from collections.abc import Callable

import pytest
import ray.exceptions

from deployments.common.errors import EngineError, JobError
from serve_app.execution.failures import INTERNAL, UNAVAILABLE, Failure, TimeLimitError, classify, frames_of
from serve_app.jobs.storing.store import StoreError

OWNER_DIED = ray.exceptions.OwnerDiedError("ab" * 28, b"", "")
"""Ray raises this error for an object whose storing replica has ended."""


def raised_in_a_deployment(
    cause: Exception, remote: str = "Traceback: /srv/secret.py line 1"
) -> ray.exceptions.RayTaskError:
    """Return the error as Serve's handles raise it, which is also an instance of the cause's class."""
    return ray.exceptions.RayTaskError("decode", remote, cause).as_instanceof_cause()


def raised_by_ray(cause: Exception, remote: str) -> ray.exceptions.RayTaskError:
    return ray.exceptions.RayTaskError("decode", remote, cause)


@pytest.mark.parametrize(
    ("error", "message", "retryable", "kind"),
    [
        (JobError("The music came out silent."), "The music came out silent.", False, "request"),
        (raised_in_a_deployment(JobError("Not music.")), "Not music.", False, "request"),
        (raised_in_a_deployment(ValueError("/srv/secret.py")), INTERNAL, False, "internal"),
        (KeyError("somebody's lyrics"), INTERNAL, False, "internal"),
        (ray.exceptions.ActorDiedError(), UNAVAILABLE, True, "unavailable"),
        (ray.exceptions.ActorUnavailableError("gone", None), UNAVAILABLE, True, "unavailable"),
        (raised_by_ray(OWNER_DIED, "Traceback"), UNAVAILABLE, True, "unavailable"),
        (raised_in_a_deployment(ray.exceptions.OutOfDiskError()), UNAVAILABLE, True, "unavailable"),
        (TimeoutError(), UNAVAILABLE, True, "unavailable"),
        (StoreError("the disk is full"), UNAVAILABLE, True, "unavailable"),
        (raised_in_a_deployment(PermissionError("/srv/secret.wav")), UNAVAILABLE, True, "unavailable"),
        (ray.exceptions.TaskCancelledError(), UNAVAILABLE, True, "unavailable"),
        (raised_in_a_deployment(EngineError("the engine is dead")), UNAVAILABLE, True, "unavailable"),
        (TimeLimitError("It took too long."), "It took too long.", False, "timeout"),
    ],
)
def test_users_get_one_sentence_and_only_lost_parts_are_tried_again(
    error: Exception, message: str, retryable: bool, kind: str
) -> None:
    assert classify(error) == Failure(message, retryable, kind)


@pytest.mark.parametrize("raised", [raised_in_a_deployment, raised_by_ray])
def test_the_log_says_where_an_error_came_from_and_quotes_nobody(
    raised: Callable[[Exception, str], ray.exceptions.RayTaskError],
) -> None:
    frame = '  File "/srv/codec.py", line 7, in decode\n    sing(lyrics)'
    remote = f"ray::Codec.decode()\n{frame}\nValueError: my lyrics"
    try:
        try:
            raise KeyError("my lyrics")
        except KeyError as error:
            raise raised(ValueError("my lyrics"), remote) from error
    except ray.exceptions.RayTaskError as error:
        text = frames_of(error)
    assert 'remote: File "/srv/codec.py", line 7, in decode' in text
    assert "ValueError:" in text
    assert "KeyError:" in text
    assert "test_failures.py" in text
    assert "lyrics" not in text
