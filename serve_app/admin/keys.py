"""The commands `make-key` and `webhook-secret`, for the credentials of clients."""

import sys
from typing import Annotated

import typer

from serve_app.admin.parser import CONFIG, Address, Config, add_command
from serve_app.admin.running_tracker import Server, running_tracker
from serve_app.jobs.tracker_api import TrackerApi


def add_commands(app: typer.Typer) -> None:
    """Add `make-key` and `webhook-secret`."""
    add_command(
        app,
        "make-key",
        _make_key,
        help="make an API key",
        description="Print a new API key, which is not stored, and its entry for the server. "
        "Entries go into the YAML file that api.keys_file names, or into the environment variable "
        "ACESTEP_API_KEYS. A running server rereads the file; it reads the variable only when it starts. A "
        "name may have two keys while its owner changes from the old one to the new one.",
    )
    add_command(
        app,
        "webhook-secret",
        _webhook_secret,
        help="show the secret with which a client verifies callbacks",
        description="Print the secret that signs the callbacks of one client's jobs, for a verifier of the "
        "Standard Webhooks specification. The server must be running, because its job store keeps the key "
        "from which all secrets are derived.",
    )


def _make_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Owner of the key; jobs belong to this name.")],
    weight: Annotated[float, typer.Option("--weight", help="Relative share of the server.")] = 1.0,
    max_priority: Annotated[int, typer.Option("--max-priority", help="Highest allowed `priority`.")] = 0,
    audio_seconds_per_day: Annotated[
        float | None,
        typer.Option(
            "--audio-seconds-per-day", help="Music that it may make in a day (default: any amount)."
        ),
    ] = None,
) -> int:
    import yaml
    from pydantic import ValidationError

    from serve_app.api.access.keys import ApiKey, digest_of, new_key

    key = new_key()
    try:
        entry = ApiKey(
            name=name,
            sha256=digest_of(key),
            weight=weight,
            max_priority=max_priority,
            audio_seconds_per_day=audio_seconds_per_day,
        )
    except ValidationError as error:
        for problem in error.errors():
            print(f"error: {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return 2
    print(f"The key, shown this once:\n  {key}\nIts entry:")
    print(yaml.safe_dump([entry.model_dump(exclude_none=True)], sort_keys=False), end="")
    return 0


def _webhook_secret(
    client: Annotated[
        str,
        typer.Argument(metavar="CLIENT", help="Name of an API key; without keys, a network address."),
    ],
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    from serve_app.jobs.housekeeping.webhooks import webhook_secret

    print(webhook_secret(running_tracker(Server(config, address)).ask(TrackerApi.secret), client))
    return 0
