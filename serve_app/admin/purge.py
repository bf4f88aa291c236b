"""The command `purge`, which deletes ended jobs before they expire."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from serve_app.admin.errors import WRONG_USAGE, CommandError
from serve_app.admin.parser import Commands, add_json_option, add_selection, duration
from serve_app.admin.running_tracker import RunningTracker, add_server_options, running_tracker
from serve_app.admin.tables import size
from serve_app.jobs.housekeeping.purge import Purge, Purged
from serve_app.jobs.model import JobState
from serve_app.jobs.tracker_api import TrackerApi

_ENDED = [state for state in JobState if state.is_final]


def add_commands(commands: Commands) -> None:
    """Add `purge`."""
    purge = commands.add_parser(
        "purge",
        help="delete records and songs of ended jobs",
        description="Permanently delete records and songs of ended jobs, either of the named jobs or of "
        "all jobs that meet every given condition. By itself the server deletes songs after "
        "storage.result_seconds and records after storage.record_seconds.",
    )
    purge.add_argument("job_ids", nargs="*", metavar="JOB", help="its id")
    purge.add_argument(
        "--older-than", type=duration, metavar="TIME", help="minimum time since the job's end: 12h, 30d"
    )
    add_selection(purge, _ENDED)
    purge.add_argument("--all", action="store_true", help="all ended jobs")
    sure = purge.add_mutually_exclusive_group(required=True)
    sure.add_argument("--dry-run", action="store_true", help="show what would be deleted")
    sure.add_argument("--yes", action="store_true", help="confirm the deletion")
    add_json_option(purge)
    add_server_options(purge)
    purge.set_defaults(run=_purge)


def _purge(options: argparse.Namespace) -> int:
    conditions = (options.older_than, options.client, options.state)
    is_selection = any(value is not None for value in conditions)
    if sum((bool(options.job_ids), is_selection, options.all)) != 1:
        raise CommandError("name jobs, or conditions, or --all: one of the three", WRONG_USAGE)
    wanted = Purge(
        job_ids=tuple(options.job_ids) or None,
        ended_before=time.time() - (options.older_than or 0.0),
        client=options.client,
        state=None if options.state is None else JobState(options.state),
        below=sys.maxsize,
    )
    gone: list[str] = []
    kept: dict[str, str] = {}
    file_bytes = 0
    tracker = running_tracker(options)
    try:
        for step in _steps(tracker, wanted, options.dry_run):
            gone += step.job_ids
            kept |= step.kept
            file_bytes += step.file_bytes
    finally:  # also report what was done before the tracker failed
        if options.json:
            print(
                json.dumps({"dry_run": options.dry_run, "job_ids": gone, "bytes": file_bytes, "kept": kept})
            )
        else:
            for job_id, reason in kept.items():
                print(f"{job_id}: {reason}", file=sys.stderr)
            verb = "would be" if options.dry_run else "have been"
            print(f"{len(gone)} jobs {verb} deleted, {size(file_bytes)} of songs")
    return 1 if kept else 0


def _steps(tracker: RunningTracker, wanted: Purge, dry_run: bool) -> Iterator[Purged]:
    below: int | None = wanted.below
    while below is not None:
        step = tracker.ask(TrackerApi.purge, replace(wanted, below=below), dry_run)
        yield step
        below = step.next_below
