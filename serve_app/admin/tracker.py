"""The command `stop-tracker`, which ends the tracker actor after its application."""

import argparse

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import Commands
from serve_app.admin.running_tracker import add_server_options, running_tracker


def add_commands(commands: Commands) -> None:
    """Add `stop-tracker`."""
    stop = commands.add_parser(
        "stop-tracker",
        help="end the job tracker, which `serve shutdown` leaves running",
        description="The job tracker is a detached actor, so it survives upgrades of the application and "
        "also `serve shutdown`. No job is lost by stopping it: the jobs are in the store, and the next "
        "application continues them.",
    )
    stop.add_argument(
        "--force",
        action="store_true",
        help="stop it even while the application runs, which then starts a new tracker within seconds",
    )
    add_server_options(stop)
    stop.set_defaults(run=_stop)


def _stop(options: argparse.Namespace) -> int:
    tracker = running_tracker(options)  # must run before Ray is imported
    import ray
    from ray import serve

    user = serve.status().applications.get(tracker.application)
    if user is not None and not options.force:
        raise CommandError(
            f"the application {tracker.application} is {user.status.value} and uses it: end it by "
            "`serve shutdown` first, or say --force"
        )
    ray.kill(tracker.actor, no_restart=True)
    print("The job tracker has been stopped.")
    return 0
