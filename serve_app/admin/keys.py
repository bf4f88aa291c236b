"""The commands `make-key` and `webhook-secret`, for the credentials of clients."""

import argparse
import sys

from serve_app.admin.parser import Commands
from serve_app.admin.running_tracker import add_server_options, running_tracker
from serve_app.jobs.tracker_api import TrackerApi


def add_commands(commands: Commands) -> None:
    """Add `make-key` and `webhook-secret`."""
    make_key = commands.add_parser(
        "make-key",
        help="make an API key",
        description="Print a new API key, which is not stored, and its entry for the server. "
        "Entries go into the YAML file that api.keys_file names, or into the environment variable "
        "ACESTEP_API_KEYS. A running server rereads the file; it reads the variable only when it starts. A "
        "name may have two keys while its owner changes from the old one to the new one.",
    )
    make_key.add_argument("name", metavar="NAME", help="owner of the key; jobs belong to this name")
    make_key.add_argument(
        "--weight", type=float, default=1.0, help="relative share of the server (default 1)"
    )
    make_key.add_argument(
        "--max-priority", type=int, default=0, help="highest allowed `priority` (default 0)"
    )
    make_key.set_defaults(run=_make_key)
    secret = commands.add_parser(
        "webhook-secret",
        help="show the secret with which a client verifies callbacks",
        description="Print the secret that signs the callbacks of one client's jobs, for a verifier of the "
        "Standard Webhooks specification. The server must be running, because its job store keeps the key "
        "from which all secrets are derived.",
    )
    secret.add_argument(
        "client", metavar="CLIENT", help="name of an API key; without keys, a network address"
    )
    add_server_options(secret)
    secret.set_defaults(run=_webhook_secret)


def _make_key(options: argparse.Namespace) -> int:
    import yaml
    from pydantic import ValidationError

    from serve_app.api.access.keys import ApiKey, digest_of, new_key

    key = new_key()
    try:
        entry = ApiKey(
            name=options.name,
            sha256=digest_of(key),
            weight=options.weight,
            max_priority=options.max_priority,
        )
    except ValidationError as error:
        for problem in error.errors():
            print(f"error: {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return 2
    print(f"The key, shown this once:\n  {key}\nIts entry:")
    print(yaml.safe_dump([entry.model_dump()], sort_keys=False), end="")
    return 0


def _webhook_secret(options: argparse.Namespace) -> int:
    from serve_app.jobs.housekeeping.webhooks import webhook_secret

    print(webhook_secret(running_tracker(options).ask(TrackerApi.secret), options.client))
    return 0
