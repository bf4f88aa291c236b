"""The commands `list`, `cancel`, `requeue` and `unreadable` for single jobs."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from serve_app.admin.parser import CONFIG, Address, ClientName, Config, Json, add_command, duration
from serve_app.admin.running_tracker import RunningTracker, Server, running_tracker
from serve_app.admin.tables import age, table
from serve_app.jobs.errors import JobEndedError, RequeueError
from serve_app.jobs.model import JobState, JobView
from serve_app.jobs.tracker_api import TrackerApi

DEFAULT_LIMIT = 50
TIDY_SECONDS = 60.0
"""How long `requeue` waits by default."""
COLUMNS = {
    "JOB": "<",
    "STATE": "<",
    "STAGE": "<",
    "PROGRESS": ">",
    "POSITION": ">",
    "ATTEMPT": ">",
    "AGE": ">",
    "CLIENT": "<",
}
LOOK_SECONDS = 1.0
UNKNOWN = "there is no such job"


JobIds = Annotated[list[str], typer.Argument(metavar="JOB", help="Their ids.")]


def add_commands(app: typer.Typer) -> None:
    """Add `list`, `cancel`, `requeue` and `unreadable`."""
    add_command(
        app,
        "list",
        _list,
        help="show jobs",
        description="The newest jobs come first; with --state queued the next one to run comes first. AGE "
        "is the time since the submit. The content of requests is never shown.",
    )
    add_command(
        app,
        "cancel",
        _cancel,
        help="cancel jobs that wait or run",
        description="This does what the owner of a job can do: a running job stops within a step, and its "
        "files are deleted.",
    )
    add_command(
        app,
        "requeue",
        _requeue,
        help="run failed or hanging jobs again",
        description="A failed job returns to its old position in the queue, with its seeds and all of its "
        "attempts; its callback is called again when it ends. This is impossible for a job with recordings, "
        "because they were deleted at its end, and for a cancelled job, because its request is not kept. A "
        "running job is taken from its runner and continues on another one from its last checkpoint.",
    )
    add_command(
        app,
        "unreadable",
        _unreadable,
        help="show job records that could not be read and were set aside",
        description="These records are damaged, or were written by a later release. They stay in the job "
        "store, apart from the jobs, and their files stay in the storage. A job tracker that can read them "
        "restores the jobs when it starts.",
    )


def _list(
    state: Annotated[JobState | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    client: ClientName = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Number of jobs.")] = DEFAULT_LIMIT,
    as_json: Json = False,
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    tracker = running_tracker(Server(config, address))
    if state is JobState.QUEUED:
        views = tracker.ask(TrackerApi.waiting, client, limit)
    else:
        views = tracker.ask(TrackerApi.page, client, state, sys.maxsize, limit)
    print(json.dumps([_fields(view) for view in views]) if as_json else job_table(views))
    return 0


def job_table(views: Sequence[JobView]) -> str:
    """A table of jobs for operators, without the content of requests."""
    rows = [
        (
            view.job_id,
            view.state.value,
            view.stage,
            f"{view.progress:.0%}",
            str(view.queue_position or "-"),
            str(view.attempt),
            age(view.created_at),
            view.client or "-",
        )
        for view in views
    ]
    return table(COLUMNS, rows)


def _fields(view: JobView) -> dict[str, Any]:
    return {
        "job_id": view.job_id,
        "state": view.state,
        "stage": view.stage,
        "progress": view.progress,
        "queue_position": view.queue_position,
        "attempt": view.attempt,
        "client": view.client,
        "created_at": view.created_at,
        "started_at": view.started_at,
        "finished_at": view.finished_at,
        "eta_seconds": view.eta_seconds,
        "error": view.error,
    }


def _unreadable(as_json: Json = False, config: Config = CONFIG, address: Address = "auto") -> int:
    kept = running_tracker(Server(config, address)).ask(TrackerApi.set_aside)
    if as_json:
        print(
            json.dumps(
                [{"job_id": record.job_id, "state": record.state, "reason": record.reason} for record in kept]
            )
        )
    else:
        rows = [(record.job_id, record.state or "-", record.reason) for record in kept]
        print(table({"JOB": "<", "STATE": "<", "REASON": "<"}, rows))
    return 0


def _cancel(
    job_ids: JobIds, as_json: Json = False, config: Config = CONFIG, address: Address = "auto"
) -> int:
    def cancel(tracker: RunningTracker, job_id: str) -> str | None:
        try:
            view = tracker.ask(TrackerApi.cancel, job_id)
        except JobEndedError as error:
            return f"it has already {error.state}"
        return None if view else UNKNOWN

    return _each(Server(config, address), job_ids, as_json, cancel, "cancelled")


def _requeue(
    job_ids: JobIds,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            parser=duration,
            metavar="TIME",
            help="How long to wait until the files of earlier attempts are deleted (default 60s).",
        ),
    ] = None,
    as_json: Json = False,
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    deadline = time.monotonic() + (TIDY_SECONDS if timeout is None else timeout)

    def requeue(tracker: RunningTracker, job_id: str) -> str | None:
        while True:
            try:
                view = tracker.ask(TrackerApi.requeue, job_id)
            except RequeueError as error:
                if not error.later or time.monotonic() > deadline:
                    return error.message
            else:
                return None if view else UNKNOWN
            time.sleep(LOOK_SECONDS)

    return _each(Server(config, address), job_ids, as_json, requeue, "queued")


def _each(
    server: Server,
    job_ids: Sequence[str],
    as_json: bool,
    act: Callable[[RunningTracker, str], str | None],
    done: str,
) -> int:
    """Apply `act`, which returns a problem or None, to each job. Returns the command's exit code."""
    tracker = running_tracker(server)
    problems: dict[str, str | None] = {}
    try:
        for job_id in job_ids:
            problems[job_id] = act(tracker, job_id)
    finally:  # also report what was done before the tracker failed
        if as_json:
            print(
                json.dumps([{"job_id": job_id, "problem": problem} for job_id, problem in problems.items()])
            )
        else:
            for job_id, problem in problems.items():
                if problem is None:
                    print(f"{job_id}: {done}")
                else:
                    print(f"{job_id}: {problem}", file=sys.stderr)
    return 1 if any(problems.values()) else 0
