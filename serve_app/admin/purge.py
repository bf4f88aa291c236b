"""The command `purge`, which deletes ended jobs before they expire."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from serve_app.admin.errors import WRONG_USAGE, CommandError
from serve_app.admin.parser import CONFIG, Address, ClientName, Config, Json, add_command, duration
from serve_app.admin.running_tracker import RunningTracker, Server, running_tracker
from serve_app.admin.tables import size
from serve_app.jobs.housekeeping.purge import Purge, Purged
from serve_app.jobs.model import JobState
from serve_app.jobs.tracker_api import TrackerApi


class EndedState(StrEnum):
    """The state of a job that has ended."""

    SUCCEEDED = JobState.SUCCEEDED.value
    FAILED = JobState.FAILED.value
    CANCELLED = JobState.CANCELLED.value


def add_commands(app: typer.Typer) -> None:
    """Add `purge`."""
    add_command(
        app,
        "purge",
        _purge,
        help="delete records and songs of ended jobs",
        description="Permanently delete records and songs of ended jobs, either of the named jobs or of "
        "all jobs that meet every given condition. By itself the server deletes songs after "
        "storage.result_seconds and records after storage.record_seconds. Say --dry-run or --yes.",
    )


def _purge(
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Their ids.")] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            parser=duration,
            metavar="TIME",
            help="Minimum time since the job's end: 12h, 30d.",
        ),
    ] = None,
    state: Annotated[EndedState | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    client: ClientName = None,
    is_all: Annotated[bool, typer.Option("--all", help="All ended jobs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted.")] = False,
    is_sure: Annotated[bool, typer.Option("--yes", help="Confirm the deletion.")] = False,
    as_json: Json = False,
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    if dry_run == is_sure:
        raise typer.BadParameter("say --dry-run or --yes, one of the two")
    conditions = (older_than, client, state)
    is_selection = any(value is not None for value in conditions)
    if sum((bool(job_ids), is_selection, is_all)) != 1:
        raise CommandError("name jobs, or conditions, or --all: one of the three", WRONG_USAGE)
    wanted = Purge(
        job_ids=tuple(job_ids or ()) or None,
        ended_before=time.time() - (older_than or 0.0),
        client=client,
        state=None if state is None else JobState(state.value),
        below=sys.maxsize,
    )
    gone: list[str] = []
    kept: dict[str, str] = {}
    file_bytes = 0
    tracker = running_tracker(Server(config, address))
    try:
        for step in _steps(tracker, wanted, dry_run):
            gone += step.job_ids
            kept |= step.kept
            file_bytes += step.file_bytes
    finally:  # also report what was done before the tracker failed
        if as_json:
            print(json.dumps({"dry_run": dry_run, "job_ids": gone, "bytes": file_bytes, "kept": kept}))
        else:
            for job_id, reason in kept.items():
                print(f"{job_id}: {reason}", file=sys.stderr)
            verb = "would be" if dry_run else "have been"
            print(f"{len(gone)} jobs {verb} deleted, {size(file_bytes)} of songs")
    return 1 if kept else 0


def _steps(tracker: RunningTracker, wanted: Purge, dry_run: bool) -> Iterator[Purged]:
    below: int | None = wanted.below
    while below is not None:
        step = tracker.ask(TrackerApi.purge, replace(wanted, below=below), dry_run)
        yield step
        below = step.next_below
