"""Measures latency and throughput of the models in a loop, the plain server and ours, with the same jobs."""

import asyncio
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.child import json_of
from benchmarks.end_to_end.load import Record, closed_loop, open_loop
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Bench, Server
from benchmarks.end_to_end.sizes import Size
from benchmarks.end_to_end.statistics import Speed, mean_stages, percentile
from benchmarks.peers.song_request import SongRequest

LOOP, PLAIN, OURS = "models in a loop", "plain server", "ours"
SEED = 7
THROUGHPUT_RATIO = 2.0
LATENCY_RATIO = 1.1
LARGEST_DIFFERENCE = 1e-3
"""Largest difference between two samples of the same song.

Full scale is 1; rounding alone gives about 1e-4.
"""


@dataclass(frozen=True)
class Speeds:
    """The speed of one server for each number of concurrent clients."""

    closed: dict[int, Speed]

    @property
    def saturation(self) -> float:
        """Return the jobs a second with the most clients."""
        return self.closed[max(self.closed)].jobs_per_second


@dataclass(frozen=True)
class LoopJobs:
    """The result of the models in a loop."""

    p50: float
    """Median latency of the jobs that one client sends."""
    song: Path
    """The song of the first job, `mix.warm_up`."""


def loop_jobs(bench: Bench, size: Size, report: Report) -> LoopJobs:
    """Run the jobs of one client without a server."""
    folder = bench.new_folder("loop")
    requests = [mix.warm_up(size.durations), *_requests(size, 1)]
    (folder / "requests.json").write_text(json.dumps([request.model_dump() for request in requests]))
    files = [str(folder / "requests.json"), "--output", str(folder / "output")]
    jobs = json_of("benchmarks.peers.direct", bench, bench.threads, *files)
    seconds = [job["seconds"] for job in jobs]
    audio = mix.audio_seconds(requests[1:])
    report.table(
        f"{LOOP}: one job after the other",
        [
            {
                "jobs": len(jobs),
                "audio s/s": audio / sum(seconds),
                "p50, s": percentile(seconds, 0.5),
                **{
                    f"{stage}, s": sum(job["stages"][stage] for job in jobs) / len(jobs)
                    for stage in jobs[0]["stages"]
                },
            }
        ],
    )
    return LoopJobs(percentile(seconds, 0.5), folder / "output" / "0" / "0.wav")


def compare_songs(server: Server, first: Record, loop: LoopJobs, report: Report) -> None:
    """Report whether our server and the peers make the same song from the same request."""
    answer = httpx.get(f"{server.url}/v1/audio/{first.job_id}/0.wav").raise_for_status()
    ours, _ = soundfile.read(io.BytesIO(answer.content))
    theirs, _ = soundfile.read(loop.song)
    alike = ours.shape == theirs.shape
    difference = float(np.abs(ours - theirs).max()) if alike else float("inf")
    report.table(
        f"The song of the first job: {OURS} and {LOOP}",
        [{"samples": len(ours), "of the loop": len(theirs), "largest difference": difference}],
    )
    report.goal(f"largest difference of a sample from that of {LOOP}", difference, "≤", LARGEST_DIFFERENCE)


def closed_loops(name: str, server: Server, size: Size, report: Report) -> Speeds:
    """Report one row for each number of clients.

    The last row is the mix in which half of the jobs use `thinking`.
    """
    asyncio.run(closed_loop(server.url, [mix.warm_up(size.durations)] * 2, 1))
    found: dict[int, Speed] = {}
    rows: list[dict[str, Any]] = []
    stages: list[dict[str, Any]] = []
    for clients in size.jobs:
        records = asyncio.run(closed_loop(server.url, _requests(size, clients), clients))
        report.jobs(f"{name}, {clients} at once", records)
        found[clients] = Speed.of(records)
        rows.append({"clients": clients, "thinking": "all", **found[clients].row()})
        stages.append({"clients": clients, **mean_stages(records)})
    requests = mix.songs(size.mixed_jobs, size.durations, SEED, thinking_share=0.5)
    records = asyncio.run(closed_loop(server.url, requests, size.mixed_clients))
    rows.append({"clients": size.mixed_clients, "thinking": "half", **Speed.of(records).row()})
    report.table(f"{name}: clients that wait for their jobs", rows)
    report.table(f"{name}: mean seconds of a job in each stage", stages)
    return Speeds(found)


def arrivals(name: str, server: Server, size: Size, rate: float, report: Report) -> Speed:
    """Measure jobs that arrive at random, at a mean of `rate` a second."""
    requests = mix.songs(size.open_jobs, size.durations, SEED + 1)
    times = mix.poisson_arrivals(rate, size.open_jobs, SEED)
    records = asyncio.run(open_loop(server.url, requests, times))
    title = f"{name}: jobs at random, {60 * rate:.3g} a minute"
    report.jobs(title, records)
    speed = Speed.of(records)
    report.table(title, [speed.row()])
    return speed


def judge(loop: LoopJobs, plain: Speeds, our: Speeds, report: Report) -> None:
    """Judge the goals of latency and throughput in closed loops."""
    report.table("ours against the plain server", _ratios(plain, our))
    for clients in sorted(our.closed)[1:]:
        ratio = our.closed[clients].audio_per_second / plain.closed[clients].audio_per_second
        report.goal(f"throughput at {clients} clients over the plain server's", ratio, "≥", THROUGHPUT_RATIO)
    ratio = our.closed[1].latency(0.5) / loop.p50
    report.goal("p50 latency at 1 client over that of the models in a loop", ratio, "≤", LATENCY_RATIO)


def judge_half_load(plain: Speed, our: Speed, report: Report) -> None:
    """Judge the goals at half of the load that saturates the plain server."""
    ratio = our.latency(0.95) / plain.latency(0.95)
    report.goal("p95 latency at half of saturation over the plain server's", ratio, "<", 1.0)


def _ratios(plain: Speeds, our: Speeds) -> list[dict[str, Any]]:
    return [
        {
            "clients": clients,
            "throughput": our.closed[clients].audio_per_second / theirs.audio_per_second,
            "p50": our.closed[clients].latency(0.5) / theirs.latency(0.5),
            "p95": our.closed[clients].latency(0.95) / theirs.latency(0.95),
        }
        for clients, theirs in plain.closed.items()
    ]


def _requests(size: Size, clients: int) -> list[SongRequest]:
    # The requests get new words, so that no prompt is in a cache.
    return mix.songs(size.jobs[clients], size.durations, SEED + clients)
