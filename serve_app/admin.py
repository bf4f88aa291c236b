"""Commands for operators: `python -m serve_app.admin COMMAND --help` says what each does."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.admin", description="Commands for operators.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_verify(commands)
    _add_make_key(commands)
    _add_webhook_secret(commands)
    options = parser.parse_args(arguments)
    exit_code: int = options.run(options)
    return exit_code


def _add_verify(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verify = commands.add_parser(
        "verify",
        help="check a folder of checkpoints",
        description="Check the checkpoints in FOLDER, in the original or the diffusers layout: that every "
        "file is there and whole, and that the tensors are those that the configs describe. Only headers are "
        "read, so it takes seconds and little memory.",
        epilog="exit code: 0 all is well, 1 something is wrong, 2 wrong usage",
    )
    verify.add_argument("folder", type=Path, metavar="FOLDER", help="models.folder, or one checkpoint in it")
    verify.set_defaults(run=_verify)


def _add_make_key(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    make_key = commands.add_parser(
        "make-key",
        help="make an API key",
        description="Print a new API key, which is nowhere kept, and the entry that lets the server know it. "
        "Entries go into the YAML file that api.keys_file names, or into the environment variable "
        "ACESTEP_API_KEYS; the server reads them when it starts.",
    )
    make_key.add_argument("name", metavar="NAME", help="whose key it is; jobs belong to this name")
    make_key.add_argument(
        "--weight", type=float, default=1.0, help="share of the server while others wait, too (default 1)"
    )
    make_key.add_argument(
        "--max-priority", type=int, default=0, help="highest `priority` that it may ask for (default 0)"
    )
    make_key.set_defaults(run=_make_key)


def _make_key(options: argparse.Namespace) -> int:
    import yaml
    from pydantic import ValidationError

    from serve_app.api.keys import ApiKey, digest_of, new_key

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


def _add_webhook_secret(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    secret = commands.add_parser(
        "webhook-secret",
        help="show what a client verifies callbacks with",
        description="Print the secret that signs the callbacks of one client's jobs, for a verifier of the "
        "Standard Webhooks specification. The server must be running: its job store keeps what all of them "
        "are derived from.",
    )
    secret.add_argument(
        "client", metavar="CLIENT", help="name of an API key; without keys, a network address"
    )
    secret.add_argument(
        "--config", type=Path, default=Path("serve_config.yaml"), help="Serve config file of the server"
    )
    secret.add_argument(
        "--address", default="auto", help="of the server's Ray (default: the one on this machine)"
    )
    secret.set_defaults(run=_webhook_secret)


def _webhook_secret(options: argparse.Namespace) -> int:
    import ray
    import yaml

    from configs.settings import Settings
    from serve_app.jobs.client import find_tracker
    from serve_app.jobs.webhooks import webhook_secret

    config = yaml.safe_load(options.config.read_text())
    settings = Settings(**config["applications"][0].get("args", {}))
    try:
        ray.init(address=options.address, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    tracker = find_tracker(settings)
    if tracker is None:
        print("error: no server of this config file is running there", file=sys.stderr)
        return 1
    print(webhook_secret(ray.get(tracker.call.remote("secret")), options.client))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from deployments.checkpoints.errors import CheckpointError
    from deployments.checkpoints.verification import missing_kinds, verify

    try:
        reports = verify(options.folder)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for report in reports:
        print(f"{'WRONG' if report.problems else 'ok':<6}{report.name}: {report.description}")
        for problem in report.problems:
            print(f"      - {problem}")
    if needed := missing_kinds(reports):
        print(f"A server also needs: {', '.join(needed)}.")
    return 1 if any(report.problems for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
