"""The output of `acestep`: results go to standard output, everything else to standard error."""

import json
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from acestep_client.errors import AcestepError, InvalidRequestError
from acestep_client.retrying import logger

WIDE = 10_000
"""Columns of results. No id and no path is cut or broken, so that one can copy it and programs find it."""


def out() -> Console:
    """Return the console of results."""
    return Console(highlight=False, width=WIDE)


def err() -> Console:
    """Return the console of messages."""
    return Console(highlight=False, stderr=True, soft_wrap=True)


def say(message: str) -> None:
    """Write a message."""
    err().print(message, markup=False)


def print_json(value: Any) -> None:
    """Write JSON for scripts: an answer of the server, or a list of them."""
    print(json.dumps(_plain(value)))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table. A column whose name begins with `>` is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.removeprefix(">"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*(escape("-" if cell is None or cell == "" else str(cell)) for cell in row))
    out().print(table)


def report(error: AcestepError) -> None:
    """Write an error, each problem of the request in a line of its own."""
    if isinstance(error, InvalidRequestError) and error.problems:
        say("error: the server refuses the request:")
        for problem in error.problems:
            say(f"  {problem}")
    else:
        say(f"error: {error}")


def age(since: float) -> str:
    """Return the time since an epoch second, in the largest unit that fits."""
    seconds = max(0.0, time.time() - since)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


class Notices(logging.Handler):
    """Shows when a request has to be repeated, and why."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message of the library."""
        self._console.print(record.getMessage(), markup=False)


def show_repetitions(console: Console) -> None:
    """Write the library's notices to this console from now on."""
    logger.handlers = [Notices(console)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
