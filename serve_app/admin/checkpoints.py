"""The command `verify`, which checks checkpoints and adapters on disk."""

from pathlib import Path
from typing import Annotated

import typer

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import add_command


def add_commands(app: typer.Typer) -> None:
    """Add `verify`."""
    add_command(
        app,
        "verify",
        _verify,
        help="check a folder of checkpoints",
        description="Check the checkpoints in FOLDER, in the original or the diffusers layout: that every "
        "file exists and is complete, and that the tensors match the configs. Only headers are read, so it "
        "takes seconds and little memory.",
        epilog="exit code: 0 no problem was found, 1 there are problems, 2 wrong usage",
    )


def _verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="models.folder, or one checkpoint in it.")],
    adapters: Annotated[
        bool,
        typer.Option(
            "--adapters",
            help="FOLDER is one of models.adapters, or one adapter: check that each is complete and finite, "
            "and with --model that it fits.",
        ),
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(metavar="DIT", help="With --adapters: the folder of the DiT that they are for."),
    ] = None,
) -> int:
    if adapters:
        return _verify_adapters(folder, model)
    if model is not None:
        raise CommandError("--model is for --adapters")
    from deployments.checkpoints.errors import CheckpointError
    from deployments.checkpoints.verification import missing_kinds, verify

    try:
        reports = verify(folder)
    except CheckpointError as error:
        raise CommandError(str(error)) from error
    for report in reports:
        print(f"{'WRONG' if report.problems else 'ok':<6}{report.name}: {report.description}")
        for problem in report.problems:
            print(f"      - {problem}")
    if needed := missing_kinds(reports):
        print(f"A server also needs: {', '.join(needed)}.")
    return 1 if any(report.problems for report in reports) else 0


def _verify_adapters(folder: Path, dit: Path | None) -> int:
    from deployments.checkpoints.adapters.errors import AdapterError
    from deployments.checkpoints.adapters.verification import verify_adapters

    try:
        reports = verify_adapters(folder, dit)
    except AdapterError as error:
        raise CommandError(str(error)) from error
    for report in reports:
        print(f"{'WRONG' if report.problems else 'ok':<6}{report.name}: {report.description}")
        for remark in (*report.problems, *report.warnings):
            print(f"      - {remark}")
    return 1 if any(report.problems for report in reports) else 0
