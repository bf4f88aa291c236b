"""Errors of the operator commands."""

FAILED, WRONG_USAGE = 1, 2


class CommandError(Exception):
    """Ends the command with `exit_code`. The message is shown to the operator as it is."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
