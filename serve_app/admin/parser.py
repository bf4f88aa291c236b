"""Options and types that the command groups share."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

EXIT_CODES = "exit code: 0 done, 1 failed or only partly done, 2 wrong usage"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_Arguments = ParamSpec("_Arguments")


class Ended(BaseException):
    """Ends a command that has run, with its exit code. It is no error, like SystemExit."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def add_command(
    app: typer.Typer,
    name: str,
    run: Callable[_Arguments, int],
    help: str,  # noqa: A002
    description: str,
    epilog: str = EXIT_CODES,
) -> None:
    """Add a command. `run` returns its exit code; its parameters are the command's options."""

    @functools.wraps(run)
    def command(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> None:
        raise Ended(run(*arguments, **named))

    app.command(name, help=description, short_help=help, epilog=epilog)(command)


def duration(text: str) -> float:
    """The seconds in a text such as `90s`, `45m`, `12h` or `30d`. Raises typer.BadParameter."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no time such as 90s, 45m, 12h or 30d")
    return float(match[1]) * _SECONDS[match[2]]


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
ClientName = Annotated[
    str | None, typer.Option("--client", help="Only jobs of this API key name or network address.")
]
Config = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="Serve config file of the server.", show_default=True)
]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Address of the server's Ray (default: RAY_ADDRESS, or the Ray of this machine). Ray takes its "
        "token from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.",
        show_default=False,
    ),
]
CONFIG = Path("serve_config.yaml")
