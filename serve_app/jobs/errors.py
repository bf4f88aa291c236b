"""Errors by which the tracker refuses a request. The API has its own answer for each."""

from configs.metrics import Limit
from serve_app.jobs.model import Quota


class LimitError(Exception):
    """A submit exceeds a limit. `retry_after` is the number of seconds after which it should succeed."""

    def __init__(
        self, message: str, retry_after: float, limit: Limit, quotas: tuple[Quota, ...] = ()
    ) -> None:
        super().__init__(message, retry_after, limit, quotas)
        self.message = message
        self.retry_after = retry_after
        self.limit = limit
        self.quotas = quotas
        """The amounts that the client has left of its limits."""


class IdempotencyConflictError(Exception):
    """The client has used this idempotency key for another request."""


class DrainingError(Exception):
    """An operator is emptying the server: it takes no new jobs."""


class NoRoomError(Exception):
    """No new job can be stored at the moment. `message` says why, without internal details."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequeueError(Exception):
    """A job cannot be requeued. `later`: it can be soon."""

    def __init__(self, message: str, later: bool = False) -> None:
        super().__init__(message, later)
        self.message = message
        self.later = later


class JobEndedError(Exception):
    """A job that has succeeded or failed can't be cancelled. `state` is the one it ended in."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state
