"""Options and types that the command groups share."""

import argparse
import re
from collections.abc import Iterable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""The object to which a group adds its commands."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(text: str) -> float:
    """The seconds in a text such as `90s`, `45m`, `12h` or `30d`. Raises ArgumentTypeError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 45m, 12h or 30d")
    return float(match[1]) * _SECONDS[match[2]]


def add_json_option(command: argparse.ArgumentParser) -> None:
    """Add `--json`, for scripts."""
    command.add_argument("--json", action="store_true", help="print JSON")


def add_selection(command: argparse.ArgumentParser, states: Iterable[str]) -> None:
    """Add options that select jobs of one state or one client."""
    command.add_argument("--state", choices=[str(state) for state in states], help="only jobs in this state")
    command.add_argument("--client", help="only jobs of this API key name or network address")
