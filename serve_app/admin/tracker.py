"""The command `stop-tracker`, which ends the tracker actor after its application."""

from typing import Annotated

import typer

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import CONFIG, Address, Config, add_command
from serve_app.admin.running_tracker import Server, running_tracker


def add_commands(app: typer.Typer) -> None:
    """Add `stop-tracker`."""
    add_command(
        app,
        "stop-tracker",
        _stop,
        help="end the job tracker, which `serve shutdown` leaves running",
        description="The job tracker is a detached actor, so it survives upgrades of the application and "
        "also `serve shutdown`. No job is lost by stopping it: the jobs are in the store, and the next "
        "application continues them.",
    )


def _stop(
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Stop it even while the application runs, which then starts a new tracker within seconds.",
        ),
    ] = False,
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    tracker = running_tracker(Server(config, address))  # must run before Ray is imported
    import ray
    from ray import serve

    user = serve.status().applications.get(tracker.application)
    if user is not None and not force:
        raise CommandError(
            f"the application {tracker.application} is {user.status.value} and uses it: end it by "
            "`serve shutdown` first, or say --force"
        )
    ray.kill(tracker.actor, no_restart=True)
    print("The job tracker has been stopped.")
    return 0
