"""Measures the load that one job tracker can serve: calls on Ray, 100,000 open jobs, 2,000 polling clients.

`python -m benchmarks.growth [--store sqlite|redis|memory] [--quick] [--only PART...] [--json FILE]`

`calls`: the real actor on a local Ray, and processes that call it without pause, 16 calls at a time each.
`open`: all jobs in one tracker in this process, with the memory store, and the copy of one reader.
`polls`: clients that poll their own job every 2 s, while 20 other jobs a second are run.

All costs are processor time, so other programs on the machine change them little; calls a second are not.
In the last two parts a tracker and a reader are threads of this process with an event loop of their own, and
answers are pickled on the way, but there is no Ray and no HTTP.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.growth import calls, polls
from benchmarks.growth.open_jobs import CHANGES, OpenJobs
from benchmarks.growth.samples import settings
from benchmarks.measuring import show, write_json
from benchmarks.tracker import locations

PARTS = ("calls", "open", "polls")


def calls_tables(options: argparse.Namespace, folder: Path, stores: Iterator[str]) -> dict[str, Any]:
    """Return the calls that the tracker's actor answers."""
    ingresses, seconds = ([1, 2], 2.0) if options.quick else ([1, 4, 16], 10.0)
    rows = calls.measure(settings(folder, next(stores)), ingresses, seconds)
    return {f"One tracker on Ray, store {options.store}": rows}


def open_tables(options: argparse.Namespace, folder: Path, _stores: Iterator[str]) -> dict[str, Any]:
    """Return the costs of many open jobs."""
    jobs, running = (5_000, (100, 200)) if options.quick else (100_000, (100, 500, 2_000))
    bench = OpenJobs(folder)
    tables = {
        f"{jobs:,} jobs are submitted: processor time and memory": [bench.fill(jobs)],
        "The first copy of one reader": [bench.copy()],
        f"Polls, and news of {CHANGES} changes": [bench.reads(count) for count in running],
    }
    bench.stop()
    return tables


def polls_tables(options: argparse.Namespace, folder: Path, stores: Iterator[str]) -> dict[str, Any]:
    """Return the costs of clients that poll."""
    clients, seconds = (200, 10.0) if options.quick else (2_000, 30.0)
    cases = (
        ("nobody", 0, 0),
        ("the tracker", clients, 0),
        ("1 reader", clients, 1),
        ("4 readers", clients, 4),
    )
    rows = [
        polls.row(name, polls.measure(folder, next(stores), polling, readers, seconds))
        for name, polling, readers in cases
    ]
    title = f"{clients:,} clients that poll every {polls.POLL_SECONDS:g} s, store {options.store}"
    return {f"{title}, beside {polls.JOBS_A_SECOND} jobs a second": rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=["sqlite", "redis", "memory"], default="sqlite")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some of the parts")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    measured = {"calls": calls_tables, "open": open_tables, "polls": polls_tables}
    tables: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, locations(options.store) as stores:
        for part in options.only:
            made = measured[part](options, Path(folder), stores)
            for title, table in made.items():
                show(title, table)
            tables |= made
            write_json(options.json, {"store": options.store, "tables": tables})


if __name__ == "__main__":
    main()
