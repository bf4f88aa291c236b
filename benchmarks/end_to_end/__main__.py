"""Compares the whole server over HTTP with what a user would run instead (`make bench`).

    python -m benchmarks.end_to_end [--quick] [--only speed idle ...] [--results FOLDER]

The contestants run one after the other: the models called in a loop, a plain server in one process, and ours.
All have the same weights (some 100 M random parameters), float32, the same sampling and seeds, and the same
jobs. The benchmark prints its tables and, at the end, which goals were met. It writes figures.json and
pictures into the folder.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.end_to_end import (
    idle,
    lengths,
    mix,
    overhead,
    profiles,
    requests_rate,
    speed,
    start_up,
    watching,
)
from benchmarks.end_to_end.checkpoint import benchmark_models, million_parameters
from benchmarks.end_to_end.load import closed_loop
from benchmarks.end_to_end.processes import memory, memory_table, watched_memory
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Bench, Server, ours, plain
from benchmarks.end_to_end.sizes import FULL, QUICK, TINY, Size
from benchmarks.end_to_end.speed import LoopJobs, Speeds
from benchmarks.end_to_end.statistics import Speed
from benchmarks.measuring import machine
from benchmarks.tiny_models import TINY_MODELS
from configs.settings import PROJECT_ROOT

SECTIONS = ("speed", "overhead", "lengths", "watching", "memory", "idle", "requests", "start")
ON_REQUEST = ("profile",)
"""Sections that would disturb the others and therefore run on request only."""
ON_OUR_SERVER = frozenset((*SECTIONS, *ON_REQUEST)) - {"requests"}
MODELS = PROJECT_ROOT / "models" / "benchmark"
RESULTS = PROJECT_ROOT / "docs" / "benchmarks"
"""Default folder for the results of a whole run."""
OTHER_RESULTS = PROJECT_ROOT / "output" / "benchmarks"


@dataclass
class Peers:
    """Holds the results of the two peers, with which ours are compared."""

    loop: LoopJobs
    plain: Speeds
    half_load: Speed
    half_rate: float
    """Half of the jobs a second at which the plain server is saturated."""


@dataclass
class Run:
    """One run of the benchmark."""

    bench: Bench
    size: Size
    sections: frozenset[str]
    results: Path
    report: Report
    idle: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Run all chosen sections."""
        peers = self._peers() if "speed" in self.sections else None
        if self.sections & ON_OUR_SERVER:
            with ours(self.bench) as server:
                self._ours(server, peers)
        if "idle" in self.sections:
            idle.idle(self.idle, self.bench, self.size, self.report)
        if "requests" in self.sections:
            requests_rate.requests_rate(self.bench, self.size, self.report)
        if "start" in self.sections:
            start_up.parts(self.bench, self.report)

    def _peers(self) -> Peers:
        with plain(self.bench) as server:
            at_rest = memory(server.pid)
            with watched_memory(server.pid) as peaks:
                found = speed.closed_loops(speed.PLAIN, server, self.size, self.report)
            longest = self.size.durations[1]
            title = f"{speed.PLAIN}: memory, songs of up to {longest} s"
            self.report.table(title, memory_table(at_rest, peaks))
            rate = found.saturation / 2
            half_load = speed.arrivals(speed.PLAIN, server, self.size, rate, self.report)
        # The loop runs directly before our server, with which it is compared, because the machine's speed
        # changes within minutes.
        loop = speed.loop_jobs(self.bench, self.size, self.report)
        return Peers(loop, found, half_load, rate)

    def _ours(self, server: Server, peers: Peers | None) -> None:
        at_rest = memory(server.pid)
        if "idle" in self.sections:
            self.idle = idle.idle_share(server, self.size)
        with ExitStack() as until_the_end:
            peaks = (
                until_the_end.enter_context(watched_memory(server.pid)) if "memory" in self.sections else None
            )
            self._with_jobs(server, peers)
        if peaks is not None:
            longest = max(self.size.lengths if "lengths" in self.sections else self.size.durations)
            title = f"{speed.OURS}: memory, songs of up to {longest} s"
            self.report.table(title, memory_table(at_rest, peaks))

    def _with_jobs(self, server: Server, peers: Peers | None) -> None:
        (first,) = asyncio.run(closed_loop(server.url, [mix.warm_up(self.size.durations)], 1))
        if "start" in self.sections:
            start_up.milestones(server, first, self.report)
        if peers is not None:
            speed.compare_songs(server, first, peers.loop, self.report)
            self._speed(server, peers)
        if "overhead" in self.sections:
            from benchmarks.end_to_end.plots import draw_waterfall

            draw_waterfall(overhead.overhead(server, self.size, self.report), self.results)
        if "lengths" in self.sections:
            lengths.lengths(server, self.size, self.report)
        if "watching" in self.sections:
            watching.watching(server, self.size, self.report)
        if "profile" in self.sections:
            profiles.profiles(server, self.size, self.report, self.results)

    def _speed(self, server: Server, peers: Peers) -> None:
        from benchmarks.end_to_end.plots import draw_latency, draw_throughput

        found = speed.closed_loops(speed.OURS, server, self.size, self.report)
        speed.judge(peers.loop, peers.plain, found, self.report)
        same_rate = speed.arrivals(speed.OURS, server, self.size, peers.half_rate, self.report)
        speed.judge_half_load(peers.half_load, same_rate, self.report)
        both = {speed.PLAIN: peers.plain, speed.OURS: found}
        draw_latency(both, self.results)
        draw_throughput(both, self.results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="ten minutes: short songs, few jobs")
    length.add_argument("--tiny", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument(
        "--only", nargs="+", choices=(*SECTIONS, *ON_REQUEST), default=SECTIONS, help="these sections"
    )
    parser.add_argument("--threads", type=int, default=cores, help="CPU threads of the peers' process")
    parser.add_argument(
        "--engine-threads", type=int, help="of each of our three engines (default: its share of the cores)"
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="where the checkpoints are, or are built")
    parser.add_argument(
        "--results",
        type=Path,
        help="folder of figures.json and pictures (default: docs/benchmarks for a whole run, else "
        "output/benchmarks)",
    )
    chosen = parser.parse_args()
    sections = frozenset(chosen.only)
    whole = sections == frozenset(SECTIONS) and not chosen.quick and not chosen.tiny
    results: Path = chosen.results or (RESULTS if whole else OTHER_RESULTS)
    results.mkdir(parents=True, exist_ok=True)
    models = TINY_MODELS if chosen.tiny else benchmark_models(chosen.models)
    about = {
        **machine(chosen.threads),
        "size": "tiny" if chosen.tiny else "quick" if chosen.quick else "full",
        "sections": sorted(sections),
        "threads of each of our engines": chosen.engine_threads or "its share of the cores",
        "million parameters": "tiny" if chosen.tiny else million_parameters(models),
    }
    print(*(f"{name}: {value}" for name, value in about.items()), sep="\n")
    report = Report(about)
    size = TINY if chosen.tiny else QUICK if chosen.quick else FULL
    # An interrupt of this program also ends the servers that it started.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(models, chosen.threads, chosen.engine_threads, Path(folder))
            Run(bench, size, sections, results, report).run()
    finally:
        report.end(results / "figures.json")


if __name__ == "__main__":
    main()
