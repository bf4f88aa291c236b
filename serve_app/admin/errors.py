"""Why a command can't do what was asked."""

FAILED, WRONG_USAGE = 1, 2


class CommandError(Exception):
    """Shown to the operator as it is, and ends the command with `exit_code`."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
