"""All commands. Each group imports its dependencies when one of its commands runs."""

import sys
from collections.abc import Sequence

import typer
import typer.main

from serve_app.admin import (
    certificates,
    checkpoints,
    intake,
    jobs,
    keys,
    leftovers,
    memory,
    purge,
    trace,
    tracker,
    usage,
)
from serve_app.admin.errors import CommandError
from serve_app.admin.parser import EXIT_CODES, Ended

PROGRAM = "python -m serve_app.admin"

app = typer.Typer(
    name=PROGRAM,
    help="Commands for operators. Those that speak to a server run on a node of its Ray cluster.",
    epilog=EXIT_CODES,
    rich_markup_mode=None,  # plain help, which one can search
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (intake, jobs, purge, leftovers, tracker, trace, checkpoints, memory, keys, usage, certificates):
    group.add_commands(app)
_command = typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Help and wrong usage raise SystemExit."""
    try:
        _command(arguments, prog_name=PROGRAM)
    except Ended as end:
        return end.exit_code
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
