import pytest
import ray.exceptions

from deployments.errors import EngineError, JobError
from serve_app.failures import INTERNAL, UNAVAILABLE, classify


def raised_in_a_deployment(cause: Exception) -> ray.exceptions.RayTaskError:
    return ray.exceptions.RayTaskError("decode", "Traceback: /srv/secret.py line 1", cause)


@pytest.mark.parametrize(
    ("error", "message", "retryable"),
    [
        (JobError("The music came out silent."), "The music came out silent.", False),
        (raised_in_a_deployment(JobError("Not music.")), "Not music.", False),
        (raised_in_a_deployment(ValueError("/srv/secret.py")), INTERNAL, False),
        (KeyError("somebody's lyrics"), INTERNAL, False),
        (ray.exceptions.ActorDiedError(), UNAVAILABLE, True),
        (ray.exceptions.ActorUnavailableError("gone", None), UNAVAILABLE, True),
        (TimeoutError(), UNAVAILABLE, True),
        (raised_in_a_deployment(EngineError("the engine is dead")), UNAVAILABLE, True),
    ],
)
def test_users_get_one_sentence_and_only_lost_parts_are_tried_again(
    error: Exception, message: str, retryable: bool
) -> None:
    failure = classify(error)
    assert (failure.message, failure.retryable) == (message, retryable)
