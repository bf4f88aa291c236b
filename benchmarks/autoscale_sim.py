"""Simulates autoscaling policies under traffic: ours, Ray Serve's default and a fleet of fixed size.

    python -m benchmarks.autoscale_sim --json autoscale.json
    python -m benchmarks.autoscale_sim --traffic burst --wrong 0.7
    python -m benchmarks.autoscale_sim --large          # an hour of 1,000,000 jobs on up to 10,000 GPUs

No model runs: jobs are discrete events on replicas whose speeds and cold starts stand in
`benchmarks.autoscale.parameters`. The policies are the real ones, behind the real autoscaling state of Serve.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.autoscale.parameters import GUIDED, H100, L4, TURBO, Fleet, Mix
from benchmarks.autoscale.policies import FixedFleet, Ours, Policy, RayDefault, serve_default, without_delays
from benchmarks.autoscale.simulation import Simulation
from benchmarks.autoscale.traffic import Traffic, burst, diurnal, lost_node, mean_work, steady
from benchmarks.measuring import show, write_json
from serve_app.autoscaling import ScaleByWork

TRAFFIC: dict[str, Traffic] = {
    "steady": steady(1.0, hours=2),
    "diurnal": diurnal(0.1, 2.0, hours=24),
    "burst": burst(0.1, times=50, hours=2, begin=1800, seconds=300),
    "lost": lost_node(2.0, hours=1),
}
MOST_REPLICAS = 64
BUSY = 0.75
"""Share of their full speed at which fixed fleets and Ray's default should run."""
RUNNERS = 1_000
"""Number of runners. It exceeds every number of jobs, because Ray's default sees only jobs in flight."""

LARGE_TRAFFIC = steady(1_000_000 / 3600, hours=1)
LARGE_RUNNERS = 100_000
LARGE_GPUS = 10_000
LARGE_DRAIN_SECONDS = 90.0
"""Time in which our policy wants waiting work done.

These jobs take some 50 s alone and 75 s beside others.
"""


def fleet_for(fleet: Fleet, mix: Mix, rate: float) -> dict[str, int]:
    """Return the replicas of each deployment that run at BUSY with this many jobs a second."""
    work = zip(fleet.items(), mean_work(mix), strict=True)
    return {name: math.ceil(rate * units / speed.full / BUSY) for (name, speed), units in work}


def ours(fleet: Fleet, most: Mapping[str, int], wrong: float = 1.0, least: int = 1, **options: Any) -> Policy:
    """Return our policy with its defaults and `options`. It believes in `wrong` times the replicas' speed."""
    speeds = {name: wrong * speed.full for name, speed in fleet.items()}
    policy = ScaleByWork(speeds, together=[["Generator", "Codec"]], **options)
    return Ours(without_delays(least, most), policy)


def policies(fleet: Fleet, mix: Mix, traffic: Traffic, wrong: float) -> dict[str, Callable[[], Policy]]:
    """Return the policies. Each run needs new ones, because a policy keeps state."""
    quick = {"upscale_delay_s": 4.0, "downscale_delay_s": 180.0, "look_back_period_s": 12.0}
    return {
        "ours": lambda: ours(fleet, dict.fromkeys(fleet, MOST_REPLICAS), wrong),
        "Ray default": lambda: RayDefault(serve_default(fleet, 1, MOST_REPLICAS, BUSY)),
        "Ray default, quick": lambda: RayDefault(
            serve_default(fleet, 1, MOST_REPLICAS, BUSY, **quick), push_seconds=2.0
        ),
        "fixed for the peak": lambda: FixedFleet(fleet_for(fleet, mix, traffic.highest_rate)),
    }


def compare(traffic: Traffic, seed: int, wrong: float) -> list[dict[str, Any]]:
    """Return one row for each policy, computed on the same jobs."""
    rows = []
    for name, make in policies(L4, TURBO, traffic, wrong).items():
        at_the_peak = fleet_for(L4, TURBO, traffic.highest_rate)
        at_first = fleet_for(L4, TURBO, traffic.rate(0.0))
        begin = at_the_peak if name.startswith("fixed") else at_first
        outcome = Simulation(L4, RUNNERS, make(), begin).run(traffic, TURBO, seed)
        rows.append({"traffic": traffic.name, "policy": name, **asdict(outcome)})
    reference = next(row["gpu_hours"] for row in rows if row["policy"] == "Ray default")
    return [{**row, "of Ray's, %": round(100 * row["gpu_hours"] / reference)} for row in rows]


def large(seed: int) -> list[dict[str, Any]]:
    """Compare our policy with a fixed fleet of LARGE_GPUS.

    Ours begins with half of the replicas that it needs.
    """
    needed = fleet_for(H100, GUIDED, LARGE_TRAFFIC.highest_rate)
    language_models = round(
        LARGE_GPUS * needed["LanguageModel"] / (needed["LanguageModel"] + needed["Generator"])
    )
    pairs = LARGE_GPUS - language_models
    fixed = {"LanguageModel": language_models, "Generator": pairs, "Codec": pairs}
    half = {name: count // 2 for name, count in needed.items()} | {"Codec": needed["Generator"] // 2}
    rows = []
    for name, policy, begin in (
        ("ours", ours(H100, fixed, least=10, drain_seconds=LARGE_DRAIN_SECONDS), half),
        ("fixed", FixedFleet(fixed), fixed),
    ):
        started = time.perf_counter()
        outcome = Simulation(H100, LARGE_RUNNERS, policy, begin).run(LARGE_TRAFFIC, GUIDED, seed)
        seconds = time.perf_counter() - started
        rows.append({"traffic": "1 M jobs an hour", "policy": name, **asdict(outcome), "took, s": seconds})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traffic", nargs="+", choices=TRAFFIC, default=list(TRAFFIC))
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and lengths")
    parser.add_argument(
        "--wrong", type=float, default=1.0, help="factor by which our policy misjudges the replicas' speed"
    )
    parser.add_argument("--large", action="store_true", help="an hour of 1,000,000 jobs; takes minutes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if arguments.large:
        rows = large(arguments.seed)
        show(f"Up to {LARGE_GPUS} GPUs", rows)
    else:
        rows = []
        for name in arguments.traffic:
            compared = compare(TRAFFIC[name], arguments.seed, arguments.wrong)
            show(TRAFFIC[name].name, compared)
            rows += compared
    write_json(arguments.json, {"seed": arguments.seed, "rows": rows})


if __name__ == "__main__":
    main()
