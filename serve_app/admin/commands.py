"""The parser of all commands. Each group imports its dependencies when one of its commands runs."""

import argparse
import sys
from collections.abc import Sequence

from serve_app.admin import checkpoints, intake, jobs, keys, leftovers, memory, purge, trace, tracker
from serve_app.admin.errors import CommandError

EXIT_CODES = "exit code: 0 done, 1 failed or only partly done, 2 wrong usage"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.admin",
        description="Commands for operators. Those that speak to a server run on a node of its Ray cluster.",
        epilog=EXIT_CODES,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (intake, jobs, purge, leftovers, tracker, trace, checkpoints, memory, keys):
        group.add_commands(commands)
    options = parser.parse_args(arguments)
    try:
        exit_code: int = options.run(options)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return exit_code
