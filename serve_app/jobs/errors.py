"""Why the tracker refuses something. Each is answered by the API in its own way."""

from configs.metrics import Limit


class LimitError(Exception):
    """Too much at once. `retry_after` is the time in seconds after which it should work."""

    def __init__(self, message: str, retry_after: float, limit: Limit) -> None:
        super().__init__(message, retry_after, limit)
        self.message = message
        self.retry_after = retry_after
        self.limit = limit


class IdempotencyConflictError(Exception):
    """The client has used this idempotency key for another request."""


class DrainingError(Exception):
    """An operator is emptying the server: it takes no new jobs."""


class NoRoomError(Exception):
    """No new job can be kept at the moment. `message` says why, without the server's insides."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequeueError(Exception):
    """Why a job can't be put back in line. `later`: it can be soon."""

    def __init__(self, message: str, later: bool = False) -> None:
        super().__init__(message, later)
        self.message = message
        self.later = later


class JobEndedError(Exception):
    """A job that has succeeded or failed can't be cancelled. `state` is the one it ended in."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state
