"""The commands `drain`, `pause` and `resume`, which set whether a server accepts and starts jobs."""

import argparse
import json
import time

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import Commands, add_json_option, duration
from serve_app.admin.running_tracker import RunningTracker, add_server_options, running_tracker
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import TrackerStats
from serve_app.jobs.tracker_api import TrackerApi

LOOK_SECONDS = 1.0
_STAYS = "This lasts until `resume`, also through restarts and upgrades."


def add_commands(commands: Commands) -> None:
    """Add `drain`, `pause` and `resume`."""
    drain = commands.add_parser(
        "drain",
        help="accept no new jobs, finish the existing ones",
        description="Submits are answered with 503 and Retry-After. Jobs that wait or run are finished, and "
        f"can be polled, cancelled and downloaded as usual. {_STAYS}",
    )
    pause = commands.add_parser(
        "pause",
        help="start no more jobs, finish the running ones",
        description="New jobs are accepted up to the limits, and wait. Running jobs are finished. Use it for "
        f"maintenance of the models or the storage. {_STAYS}",
    )
    resume = commands.add_parser(
        "resume",
        help="end `drain` or `pause`",
        description="Accept and start jobs again after `drain` or `pause`.",
    )
    for command, mode in ((drain, Mode.DRAINING), (pause, Mode.PAUSED)):
        command.add_argument(
            "--wait", action="store_true", help="wait until nothing is left to finish, and show progress"
        )
        command.add_argument(
            "--timeout",
            type=duration,
            metavar="TIME",
            help="with --wait: fail with exit code 1 after this time (90s, 45m, 12h)",
        )
        command.set_defaults(run=_set_mode, mode=mode)
    resume.set_defaults(run=_set_mode, mode=Mode.OPEN, wait=False)
    for command in (drain, pause, resume):
        add_json_option(command)
        add_server_options(command)


def _set_mode(options: argparse.Namespace) -> int:
    tracker = running_tracker(options)
    tracker.ask(TrackerApi.set_mode, options.mode)
    stats = tracker.ask(TrackerApi.stats)
    if options.wait:
        stats = _wait(tracker, stats, options)
    if options.json:
        print(json.dumps({"mode": stats.mode, "jobs": stats.jobs}))
    else:
        print(f"{stats.mode}: {_left(stats)}")
    return 0


def _wait(tracker: RunningTracker, stats: TrackerStats, options: argparse.Namespace) -> TrackerStats:
    """Wait until all jobs that the mode allows to finish are done. Raises CommandError after the time-out."""
    started = time.monotonic()
    kinds = ("running",) if options.mode is Mode.PAUSED else ("queued", "running")
    shown = ""
    while any(stats.jobs[kind] for kind in kinds):
        if options.timeout is not None and time.monotonic() - started > options.timeout:
            raise CommandError(f"not empty in time: {_left(stats)}; the server stays {stats.mode}")
        if stats.mode != options.mode:
            raise CommandError(f"somebody has set the server to {stats.mode} meanwhile")
        if not options.json and _left(stats) != shown:
            shown = _left(stats)
            print(f"{stats.mode}: {shown}", flush=True)
        time.sleep(LOOK_SECONDS)
        stats = tracker.ask(TrackerApi.stats)
    return stats


def _left(stats: TrackerStats) -> str:
    return f"{stats.jobs['queued']} waiting, {stats.jobs['running']} running"
