"""The command `usage`: what one client used, by day."""

import json
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer

from serve_app.admin.errors import WRONG_USAGE, CommandError
from serve_app.admin.parser import CONFIG, Address, Config, Json, add_command
from serve_app.admin.running_tracker import Server, running_tracker
from serve_app.admin.tables import table
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.jobs.usage import Usage

DEFAULT_DAYS = 30
COLUMNS = {
    "DAY": "<",
    "SUCCEEDED": ">",
    "FAILED": ">",
    "CANCELLED": ">",
    "AUDIO": ">",
    "CODES": ">",
    "LANGUAGE MODEL": ">",
    "GENERATOR": ">",
    "CODEC": ">",
}


def add_commands(app: typer.Typer) -> None:
    """Add `usage`."""
    add_command(
        app,
        "usage",
        _usage,
        help="show what a client used, by day",
        description="Show how many jobs of a client ended on each day (UTC), the seconds of their songs, the "
        "audio codes and the seconds of each engine. The client sees the same under /v1/usage. Days on "
        "which no job ended are left out.",
    )


def _usage(
    client: Annotated[
        str,
        typer.Argument(metavar="CLIENT", help="Name of an API key; without keys, a network address."),
    ],
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day (default: 29 days before --to).")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="Last day (default: today).")
    ] = None,
    as_json: Json = False,
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    end = datetime.now(UTC).date() if last is None else _day(last)
    start = end - timedelta(days=DEFAULT_DAYS - 1) if first is None else _day(first)
    if start > end:
        raise CommandError("--from is after --to", WRONG_USAGE)
    tracker = running_tracker(Server(config, address))
    days = tracker.ask(TrackerApi.usage, client, start.isoformat(), end.isoformat()).days
    if as_json:
        print(json.dumps({day: asdict(used) for day, used in sorted(days.items())}))
    else:
        rows = [_row(day, used) for day, used in sorted(days.items())]
        print(table(COLUMNS, [*rows, _row("total", Usage.total(days.values()))]))
    return 0


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is no day such as 2026-12-31", WRONG_USAGE) from error


def _row(day: str, used: Usage) -> tuple[str, ...]:
    milliseconds = (used.language_model_ms, used.generator_ms, used.codec_ms)
    return (
        day,
        *map(str, (used.succeeded, used.failed, used.cancelled)),
        f"{used.audio_ms / 1000:.1f} s",
        str(used.codes),
        *(f"{spent / 1000:.1f} s" for spent in milliseconds),
    )
