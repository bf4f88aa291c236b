"""Compares our processes while nobody sends requests with the same number of empty replicas."""

import time

from benchmarks.end_to_end.processes import processor_share
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Bench, Server, idle_replicas
from benchmarks.end_to_end.sizes import Size

REPLICAS = 4
"""The replicas of Ingress, LanguageModel, Generator and Codec."""
LIMIT_PERCENT = 3


def idle_share(server: Server, size: Size) -> dict[str, float]:
    """Return the percentage of a core that each process takes."""
    time.sleep(size.settle_seconds)
    return processor_share(server.pid, size.idle_seconds)


def idle(our: dict[str, float], bench: Bench, size: Size, report: Report) -> None:
    """Measure empty replicas and report them beside `our`, the figures of our server."""
    with idle_replicas(bench, REPLICAS) as server:
        empty = idle_share(server, size)
    names = sorted(our | empty, key=lambda name: -our.get(name, 0.0))
    rows = [
        {"process": name, "ours, %": our.get(name, 0.0), "empty replicas, %": empty.get(name, 0.0)}
        for name in names
    ]
    totals = {"ours, %": sum(our.values()), "empty replicas, %": sum(empty.values())}
    report.table("Idle: percent of a core", [*rows, {"process": "all", **totals}])
    above = totals["ours, %"] - totals["empty replicas, %"]
    report.goal(
        f"idle processor time above {REPLICAS} empty replicas", above, "≤", LIMIT_PERCENT, "% of a core"
    )
