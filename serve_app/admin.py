"""Commands for operators: `python -m serve_app.admin COMMAND --help` says what each does."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.admin", description="Commands for operators.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_verify(commands)
    options = parser.parse_args(arguments)
    exit_code: int = options.run(options)
    return exit_code


def _add_verify(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verify = commands.add_parser(
        "verify",
        help="check a folder of checkpoints",
        description="Check the checkpoints in FOLDER, in the original or the diffusers layout: that every "
        "file is there and whole, and that the tensors are those that the configs describe. Only headers are "
        "read, so it takes seconds and little memory.",
        epilog="exit code: 0 all is well, 1 something is wrong, 2 wrong usage",
    )
    verify.add_argument("folder", type=Path, metavar="FOLDER", help="models.folder, or one checkpoint in it")
    verify.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from deployments.checkpoints.errors import CheckpointError
    from deployments.checkpoints.verification import missing_kinds, verify

    try:
        reports = verify(options.folder)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for report in reports:
        print(f"{'WRONG' if report.problems else 'ok':<6}{report.name}: {report.description}")
        for problem in report.problems:
            print(f"      - {problem}")
    if needed := missing_kinds(reports):
        print(f"A server also needs: {', '.join(needed)}.")
    return 1 if any(report.problems for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
