"""Runs a discrete-event simulation: jobs pass through the deployments, and a policy sets the replicas."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.autoscale.deployment import Deployment, Job
from benchmarks.autoscale.parameters import CONTROL_SECONDS, LOSS_NOTICED_SECONDS, Fleet, Mix
from benchmarks.autoscale.policies import Clock, Policy, simulated_time
from benchmarks.autoscale.traffic import Traffic, Work, arrivals

STAGES = ("composing", "denoising", "decoding")
"""The tracker's names for the work of the three deployments."""
LOST_SHARE = 1 / 3


@dataclass(frozen=True)
class Outcome:
    """The result of one policy under one traffic."""

    jobs: int
    wait_p50: float
    """Median seconds by which a job took longer than alone: waiting, sharing and repeating lost work."""
    wait_p95: float
    result_p95: float
    """95th percentile of the seconds from a job's submission to its result."""
    gpu_hours: float
    """GPU hours, counted from a replica's start to its end. A Generator and a Codec share a GPU."""
    gpus_most: int


class Simulation:
    """One simulation run."""

    def __init__(
        self, fleet: Fleet, runners: int, policy: Policy, begin: Mapping[str, int], seed: int = 0
    ) -> None:
        self._policy = policy
        self._clock = Clock()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._event_count = itertools.count()
        self._deployments = {
            name: Deployment(speed, self._wake, self._stage_done, seed + index)
            for index, (name, speed) in enumerate(fleet.items())
        }
        for name, count in begin.items():
            self._deployments[name].begin(count)
        self._order = list(self._deployments.values())
        self._alone = [speed.seconds_per_unit(1) for speed in fleet.values()]
        self._free_runners = runners
        self._queue: deque[Job] = deque()
        """Jobs that wait until a runner claims them."""
        self._submitted = [0.0] * len(STAGES)
        self._left = [0.0] * len(STAGES)
        self._unfinished = 0
        self._waits: list[float] = []
        self._results: list[float] = []
        self._gpu_seconds = 0.0
        self._gpus = self._gpus_most = 0
        self._counted_at = 0.0

    def run(self, traffic: Traffic, mix: Mix, seed: int) -> Outcome:
        """Run until the traffic has ended and the last job has its result."""
        coming = arrivals(traffic, mix, seed)
        self._next_arrival(coming)
        self._at(0.0, self._control)
        if traffic.loses_nodes_at is not None:
            self._at(traffic.loses_nodes_at, self._lose_nodes)
        with simulated_time(self._clock):
            while self._unfinished or self._events[0][0] <= traffic.duration_seconds:
                now, _, action, arguments = heapq.heappop(self._events)
                self._clock.now = now
                action(now, *arguments)
        self._count_gpus(max(self._clock.now, traffic.duration_seconds))
        return Outcome(
            len(self._waits),
            _quantile(self._waits, 0.5),
            _quantile(self._waits, 0.95),
            _quantile(self._results, 0.95),
            self._gpu_seconds / 3600,
            self._gpus_most,
        )

    def _at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (time, next(self._event_count), action, arguments))

    def _wake(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        self._at(time, action, *arguments)

    def _next_arrival(self, coming: Iterator[tuple[float, Work]]) -> None:
        for at, work in itertools.islice(coming, 1):
            self._at(at, self._arrive, Job(at, work), coming)

    def _arrive(self, now: float, job: Job, coming: Iterator[tuple[float, Work]]) -> None:
        self._unfinished += 1
        for index, units in enumerate(job.work):
            self._submitted[index] += units
            self._left[index] += units
        if self._free_runners:
            self._free_runners -= 1
            self._order[0].enter(now, job)
        else:
            self._queue.append(job)
        self._next_arrival(coming)

    def _stage_done(self, now: float, job: Job) -> None:
        self._left[job.stage] -= job.work[job.stage]
        job.stage += 1
        if job.stage < len(self._order):
            self._order[job.stage].enter(now, job)
            return
        self._unfinished -= 1
        seconds = now - job.submitted_at
        alone = sum(units * each for units, each in zip(job.work, self._alone, strict=True))
        self._results.append(seconds)
        self._waits.append(max(0.0, seconds - alone))
        if self._queue:
            self._order[0].enter(now, self._queue.popleft())
        else:
            self._free_runners += 1

    def _lose_nodes(self, now: float) -> None:
        for deployment in self._order:
            for job in deployment.lose(now, LOST_SHARE):
                self._at(now + LOSS_NOTICED_SECONDS, deployment.retry, job)

    def _control(self, now: float) -> None:
        self._count_gpus(now)
        demand = {
            "submitted": dict(zip(STAGES, self._submitted, strict=True)),
            "waiting": {},
            "running": dict(zip(STAGES, self._left, strict=True)),
        }
        each = self._deployments.items()
        targets = self._policy.targets(
            now,
            demand,
            {name: deployment.in_flight for name, deployment in each},
            {name: deployment.running for name, deployment in each},
            {name: deployment.target for name, deployment in each},
        )
        for name, deployment in each:
            deployment.scale(now, targets[name])
        self._at(now + CONTROL_SECONDS, self._control)

    def _count_gpus(self, now: float) -> None:
        """Add the GPU time since the last decision.

        A replica that ends between two decisions counts until the second.
        """
        self._gpu_seconds += (now - self._counted_at) * self._gpus
        self._counted_at = now
        language_models, generators, codecs = (deployment.held for deployment in self._order)
        self._gpus = language_models + max(generators, codecs)
        self._gpus_most = max(self._gpus_most, self._gpus)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else math.nan
