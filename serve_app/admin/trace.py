"""The command `trace`, which shows how a job's time was spent."""

from pathlib import Path
from typing import Annotated

import typer

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import add_command


def add_commands(app: typer.Typer) -> None:
    """Add `trace`."""
    add_command(
        app,
        "trace",
        _trace,
        help="show how the time of a job was spent",
        description="Print the trace of a job as a tree: each span with its process, start, duration and "
        "share of the job's time. The trace is read from the files that a server with `tracing: {exporter: "
        "file}` writes on each machine; a server that sends traces to a collector writes no files.",
        epilog="exit code: 0 a trace was found, 1 none was found, 2 wrong usage",
    )


def _trace(
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="Its id.")],
    more_spans: Annotated[list[Path] | None, typer.Argument(metavar="PATH", hidden=True)] = None,
    spans_in: Annotated[
        list[Path] | None,
        typer.Option(
            "--spans",
            metavar="PATH...",
            help="Files, or folders of files (default: output/traces in the state directory).",
        ),
    ] = None,
) -> int:
    """`more_spans` are the paths that follow the first one after `--spans`."""
    from configs.settings import TracingSettings
    from serve_app.admin.trace_tree import explained_seconds, job_span, read_trace, tree

    if more_spans and not spans_in:
        raise typer.BadParameter(f"{more_spans[0]} is one job too many, or a path without --spans")
    paths = [*(spans_in or ()), *(more_spans or ())] or [TracingSettings().folder]
    try:
        spans = read_trace(job_id, paths)
    except OSError as error:
        raise CommandError(str(error)) from error
    if not spans:
        raise CommandError(f"no span of job {job_id} in {', '.join(map(str, paths))}")
    print("\n".join(tree(spans)))
    job = job_span(spans)
    if job is not None and job.seconds:
        share = 100 * explained_seconds(spans, job) / job.seconds
        print(f"Waiting and the parts of its attempts are {share:.1f} % of the job's {job.seconds:.3f} s.")
    return 0
