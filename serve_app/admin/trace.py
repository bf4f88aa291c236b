"""The command `trace`, which shows how a job's time was spent."""

import argparse
from pathlib import Path

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import Commands


def add_commands(commands: Commands) -> None:
    """Add `trace`."""
    trace = commands.add_parser(
        "trace",
        help="show how the time of a job was spent",
        description="Print the trace of a job as a tree: each span with its process, start, duration and "
        "share of the job's time. The trace is read from the files that a server with `tracing: {exporter: "
        "file}` writes on each machine; a server that sends traces to a collector writes no files.",
        epilog="exit code: 0 a trace was found, 1 none was found, 2 wrong usage",
    )
    trace.add_argument("job_id", metavar="JOB_ID")
    trace.add_argument(
        "--spans",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="files, or folders of files (default: output/traces in the state directory)",
    )
    trace.set_defaults(run=_trace)


def _trace(options: argparse.Namespace) -> int:
    from configs.settings import TracingSettings
    from serve_app.admin.trace_tree import explained_seconds, job_span, read_trace, tree

    paths = options.spans or [TracingSettings().folder]
    try:
        spans = read_trace(options.job_id, paths)
    except OSError as error:
        raise CommandError(str(error)) from error
    if not spans:
        raise CommandError(f"no span of job {options.job_id} in {', '.join(map(str, paths))}")
    print("\n".join(tree(spans)))
    job = job_span(spans)
    if job is not None and job.seconds:
        share = 100 * explained_seconds(spans, job) / job.seconds
        print(f"Waiting and the parts of its attempts are {share:.1f} % of the job's {job.seconds:.3f} s.")
    return 0
