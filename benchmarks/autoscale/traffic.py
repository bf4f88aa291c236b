"""Describes when jobs arrive and what they ask for."""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.autoscale.parameters import Mix
from configs.domain import CODE_RATE

Work = tuple[float, float, float]
"""Codes, rows × seconds of audio, and seconds of audio: the units of the three deployments."""


@dataclass(frozen=True)
class Traffic:
    """Jobs a second as a function of time."""

    name: str
    duration_seconds: float
    rate: Callable[[float], float]
    highest_rate: float
    loses_nodes_at: float | None = None
    """The time in seconds at which a third of all GPUs dies at once."""


def steady(rate: float, hours: float) -> Traffic:
    return Traffic("steady", hours * 3600, lambda _: rate, rate)


def diurnal(lowest: float, highest: float, hours: float) -> Traffic:
    """Return traffic that follows a cosine with its lowest point at midnight."""
    middle, swing = (highest + lowest) / 2, (highest - lowest) / 2
    return Traffic(
        "diurnal", hours * 3600, lambda at: middle - swing * math.cos(2 * math.pi * at / (24 * 3600)), highest
    )


def burst(rate: float, times: float, hours: float, begin: float, seconds: float) -> Traffic:
    """Return traffic that grows to `times` as many jobs for some seconds."""
    return Traffic(
        f"{times:g}x burst",
        hours * 3600,
        lambda at: rate * (times if begin <= at < begin + seconds else 1.0),
        rate * times,
    )


def lost_node(rate: float, hours: float) -> Traffic:
    return Traffic("lost node", hours * 3600, lambda _: rate, rate, loses_nodes_at=hours * 3600 / 2)


def arrivals(traffic: Traffic, mix: Mix, seed: int) -> Iterator[tuple[float, Work]]:
    """Draw jobs as a thinned Poisson process. All policies of a comparison get the same jobs."""
    chance = random.Random(seed)
    at = 0.0
    while True:
        at += chance.expovariate(traffic.highest_rate)
        if at >= traffic.duration_seconds:
            return
        if chance.random() * traffic.highest_rate < traffic.rate(at):
            yield at, work(mix, chance)


def work(mix: Mix, chance: random.Random) -> Work:
    seconds = chance.lognormvariate(math.log(mix.median_seconds), mix.spread)
    seconds = mix.songs * min(mix.longest_seconds, max(mix.shortest_seconds, seconds))
    return seconds * CODE_RATE, seconds * mix.rows, seconds


def mean_work(mix: Mix) -> Work:
    chance = random.Random(0)
    drawn = [work(mix, chance) for _ in itertools.repeat(None, 10_000)]
    codes, rows, seconds = (sum(column) / len(drawn) for column in zip(*drawn, strict=True))
    return codes, rows, seconds
