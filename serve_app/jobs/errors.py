"""Why the tracker refuses something. Each is answered by the API in its own way."""


class LimitError(Exception):
    """Too much at once. `retry_after` is the time in seconds after which it should work."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after


class IdempotencyConflictError(Exception):
    """The client has used this idempotency key for another request."""


class JobEndedError(Exception):
    """A job that has succeeded or failed can't be cancelled. `state` is the one it ended in."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state
