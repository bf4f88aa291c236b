"""Measures the parts of a start: what clients of a starting server see, and each process by itself."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from benchmarks.end_to_end.child import json_of
from benchmarks.end_to_end.load import Record
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Bench, Server


def milestones(server: Server, first: Record, report: Report) -> None:
    """Report the start of a server whose first job was `first`."""
    waits = [*server.waits, (server.start_seconds, "ready")]
    rows = [
        {"waiting for": waiting_for, "from, s": start, "seconds": stop - start}
        for (start, waiting_for), (stop, _) in pairwise(waits)
    ]
    rows += [
        {"waiting for": name, "from, s": server.start_seconds, "seconds": seconds}
        for name, seconds in (
            ("the answer to the first job", first.accepted - first.submitted),
            ("the first job's song", first.seen - first.accepted),
        )
    ]
    report.table("Start: what clients wait for", rows)


def parts(bench: Bench, report: Report) -> None:
    """Start one process after the other without other load on the machine, and report each."""
    report.table("Start: each part by itself", [row for part in PARTS for row in _part(bench, part)])


PARTS = ("ingress", "generator", "codec", "language_model")


def _part(bench: Bench, part: str) -> Sequence[dict[str, Any]]:
    steps = json_of("benchmarks.end_to_end.starting_part", bench, bench.engine_threads or bench.threads, part)
    return [{"part": part, "step": step, "seconds": seconds} for step, seconds in steps.items()]
