"""`stop-tracker`: the actor that outlives its application."""

import argparse

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import Commands
from serve_app.admin.running_tracker import add_server_options, running_tracker


def add_commands(commands: Commands) -> None:
    """Add `stop-tracker`."""
    stop = commands.add_parser(
        "stop-tracker",
        help="end the job tracker that `serve shutdown` leaves behind",
        description="The job tracker is a detached actor: it outlives its application, so that no upgrade "
        "loses it, and `serve shutdown`, too. No job is lost: the store has them, and the next application "
        "goes on with them.",
    )
    stop.add_argument(
        "--force",
        action="store_true",
        help="even while the application is there; it starts a new tracker within seconds",
    )
    add_server_options(stop)
    stop.set_defaults(run=_stop)


def _stop(options: argparse.Namespace) -> int:
    tracker = running_tracker(options)  # which prepares the import of Ray
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
