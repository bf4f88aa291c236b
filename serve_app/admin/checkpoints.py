"""The command `verify`, which checks checkpoints on disk."""

import argparse
from pathlib import Path

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import Commands


def add_commands(commands: Commands) -> None:
    """Add `verify`."""
    verify = commands.add_parser(
        "verify",
        help="check a folder of checkpoints",
        description="Check the checkpoints in FOLDER, in the original or the diffusers layout: that every "
        "file exists and is complete, and that the tensors match the configs. Only headers are read, so it "
        "takes seconds and little memory.",
        epilog="exit code: 0 no problem was found, 1 there are problems, 2 wrong usage",
    )
    verify.add_argument("folder", type=Path, metavar="FOLDER", help="models.folder, or one checkpoint in it")
    verify.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from deployments.checkpoints.errors import CheckpointError
    from deployments.checkpoints.verification import missing_kinds, verify

    try:
        reports = verify(options.folder)
    except CheckpointError as error:
        raise CommandError(str(error)) from error
    for report in reports:
        print(f"{'WRONG' if report.problems else 'ok':<6}{report.name}: {report.description}")
        for problem in report.problems:
            print(f"      - {problem}")
    if needed := missing_kinds(reports):
        print(f"A server also needs: {', '.join(needed)}.")
    return 1 if any(report.problems for report in reports) else 0
