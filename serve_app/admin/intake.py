"""The commands `drain`, `pause` and `resume`, which set whether a server accepts and starts jobs."""

import json
import time
from typing import Annotated

import typer

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import CONFIG, Address, Config, Json, add_command, duration
from serve_app.admin.running_tracker import RunningTracker, Server, running_tracker
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import TrackerStats
from serve_app.jobs.tracker_api import TrackerApi

LOOK_SECONDS = 1.0
_STAYS = "This lasts until `resume`, also through restarts and upgrades."

Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until nothing is left to finish, and show progress.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=duration,
        metavar="TIME",
        help="With --wait: fail with exit code 1 after this time (90s, 45m, 12h).",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add `drain`, `pause` and `resume`."""
    add_command(
        app,
        "drain",
        _drain,
        help="accept no new jobs, finish the existing ones",
        description="Submits are answered with 503 and Retry-After. Jobs that wait or run are finished, and "
        f"can be polled, cancelled and downloaded as usual. {_STAYS}",
    )
    add_command(
        app,
        "pause",
        _pause,
        help="start no more jobs, finish the running ones",
        description="New jobs are accepted up to the limits, and wait. Running jobs are finished. Use it for "
        f"maintenance of the models or the storage. {_STAYS}",
    )
    add_command(
        app,
        "resume",
        _resume,
        help="end `drain` or `pause`",
        description="Accept and start jobs again after `drain` or `pause`.",
    )


def _drain(
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    return _set_mode(Mode.DRAINING, Server(config, address), as_json, wait, timeout)


def _pause(
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    return _set_mode(Mode.PAUSED, Server(config, address), as_json, wait, timeout)


def _resume(as_json: Json = False, config: Config = CONFIG, address: Address = "auto") -> int:
    return _set_mode(Mode.OPEN, Server(config, address), as_json)


def _set_mode(
    mode: Mode, server: Server, as_json: bool, wait: bool = False, timeout: float | None = None
) -> int:
    tracker = running_tracker(server)
    tracker.ask(TrackerApi.set_mode, mode)
    stats = tracker.ask(TrackerApi.stats)
    if wait:
        stats = _wait(tracker, stats, mode, timeout, is_quiet=as_json)
    if as_json:
        print(json.dumps({"mode": stats.mode, "jobs": stats.jobs}))
    else:
        print(f"{stats.mode}: {_left(stats)}")
    return 0


def _wait(
    tracker: RunningTracker, stats: TrackerStats, mode: Mode, timeout: float | None, is_quiet: bool
) -> TrackerStats:
    """Wait until all jobs that the mode allows to finish are done. Raises CommandError after the time-out."""
    started = time.monotonic()
    kinds = ("running",) if mode is Mode.PAUSED else ("queued", "running")
    shown = ""
    while any(stats.jobs[kind] for kind in kinds):
        if timeout is not None and time.monotonic() - started > timeout:
            raise CommandError(f"not empty in time: {_left(stats)}; the server stays {stats.mode}")
        if stats.mode != mode:
            raise CommandError(f"somebody has set the server to {stats.mode} meanwhile")
        if not is_quiet and _left(stats) != shown:
            shown = _left(stats)
            print(f"{stats.mode}: {shown}", flush=True)
        time.sleep(LOOK_SECONDS)
        stats = tracker.ask(TrackerApi.stats)
    return stats


def _left(stats: TrackerStats) -> str:
    return f"{stats.jobs['queued']} waiting, {stats.jobs['running']} running"
