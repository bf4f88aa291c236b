"""Measures what polls, event streams and long polls cost a server with tiny models.

`python -m benchmarks.readers [--quick] [--clients 2000] [--json FILE]`

1. Polls a second of a queued, a running and an ended job, beside an application that does nothing.
2. Memory and processor time of clients that wait for news, by event streams and by long polls.
3. The time that songs take beside such clients.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measuring import Table, machine, show, write_json
from benchmarks.readers.clients import NEWS
from benchmarks.readers.generation import generation
from benchmarks.readers.polls import polls
from benchmarks.readers.server import running_server
from benchmarks.readers.sizes import FULL, QUICK, Size
from benchmarks.readers.waiting import waiting

POLLS = "Polls, as many as are answered"
WAITING = "Clients that wait for news of queued jobs"
GENERATION = "Songs beside clients that wait for news"


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="few clients and songs, to see that it runs")
    options.add_argument("--clients", type=int, help="clients that wait (default: 2000, quick: 200)")
    options.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = options.parse_args()
    size = QUICK if chosen.quick else FULL
    if chosen.clients:
        size = replace(size, clients=chosen.clients)
    about = machine(len(os.sched_getaffinity(0)))
    tables: dict[str, Table] = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, table in measured(size, Path(folder)):
            show(title, table)
            tables[title] = table
            write_json(chosen.json, {**about, "tables": tables})


def measured(size: Size, folder: Path) -> Iterator[tuple[str, Table]]:
    """Yield each table with its title as soon as it is complete."""
    with running_server(folder / "polls", size.clients) as jobs:
        yield POLLS, polls(jobs, size)
        yield GENERATION, generation(jobs, size)
    rows: list[dict[str, Any]] = []
    for kind in NEWS:
        with running_server(folder / kind, size.clients) as jobs:
            rows += waiting(jobs, kind, size)
    yield WAITING, rows


if __name__ == "__main__":
    main()
