import pytest
import ray.exceptions

from deployments.errors import EngineError, JobError
from serve_app.failures import INTERNAL, UNAVAILABLE, classify, frames_of
from serve_app.jobs.store import StoreError


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
        (StoreError("the disk is full"), UNAVAILABLE, True),
        (raised_in_a_deployment(PermissionError("/srv/secret.wav")), UNAVAILABLE, True),
        (ray.exceptions.TaskCancelledError(), UNAVAILABLE, True),
        (raised_in_a_deployment(EngineError("the engine is dead")), UNAVAILABLE, True),
    ],
)
def test_users_get_one_sentence_and_only_lost_parts_are_tried_again(
    error: Exception, message: str, retryable: bool
) -> None:
    failure = classify(error)
    assert (failure.message, failure.retryable) == (message, retryable)


def test_the_log_says_where_an_error_came_from_and_quotes_nobody() -> None:
    frame = '  File "/srv/codec.py", line 7, in decode\n    sing(lyrics)'
    remote = f"ray::Codec.decode()\n{frame}\nValueError: my lyrics"
    try:
        try:
            raise KeyError("my lyrics")
        except KeyError as error:
            raise ray.exceptions.RayTaskError("decode", remote, ValueError("my lyrics")) from error
    except ray.exceptions.RayTaskError as error:
        text = frames_of(error)
    assert 'remote: File "/srv/codec.py", line 7, in decode' in text
    assert "ValueError:" in text
    assert "KeyError:" in text
    assert "test_failures.py" in text
    assert "lyrics" not in text
