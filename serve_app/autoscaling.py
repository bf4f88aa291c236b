"""An autoscaling policy for Ray Serve: the number of replicas follows the work in the job tracker.

Serve's own policy counts the requests in flight. This policy asks the job tracker for the work of all jobs
that wait or run, in the units of each deployment. So the Generator is scaled up for songs whose codes the
LanguageModel has not written yet. In the config file:

    applications:
    - autoscaling_policy:
        policy_function: serve_app.autoscaling:ScaleByWork
        policy_kwargs: {units_per_second: {LanguageModel: 2500, Generator: 2200, Codec: 280}}

Serve pickles this module by value and calls the policy in its controller several times a second. Therefore
the module imports nothing else of the project and never blocks.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

import ray

logger = logging.getLogger("ray.serve")

Demand = Mapping[str, Mapping[str, float]]
"""Units of work by stage; for a checkpoint that is not the default, by `stage/checkpoint`.

`submitted` counts all work since the tracker started, and `withdrawn` the part of it that was cancelled
before it was done. `waiting` and `running` are the work that is left to do.
"""

UNITS: dict[str, dict[str, float]] = {
    "LanguageModel": {"planning": 120.0, "composing": 1.0},
    "Generator": {"denoising": 1.0},
    "Codec": {"decoding": 1.0},
}
"""Deployment units per unit of work of a stage, by kind of deployment.

A deployment for a checkpoint that is not the default, such as `Generator-acestep-v15-base`, is of the kind
before the first `-`, and has the units of this kind.
LanguageModel: one audio code. Generator: one second of audio in one DiT row of one step. Codec: one second of
audio. A job has one unit of planning, which takes about 120 tokens.
"""

POLL_SECONDS = 1.0
ANSWER_SECONDS = 5.0
"""Time-out of one call to the tracker."""
STALE_SECONDS = 15.0
"""While the last answer is older, the policy changes nothing."""


def replicas_wanted(
    arriving: float, left: float, drain_seconds: float, headroom: float, minimum: int, maximum: int
) -> int:
    """Replicas that keep up with arriving work and finish the work that is left within `drain_seconds`.

    Work is measured in seconds of one busy replica: `arriving` is work per second, `left` is a total. Random
    arrivals deviate by the square root of their mean (square-root staffing; Halfin and Whitt 1981), so a
    large fleet needs relatively fewer spare replicas.
    """
    keeping_up = arriving + headroom * math.sqrt(arriving)
    wanted = math.ceil(max(keeping_up, left / drain_seconds))
    return max(minimum, min(maximum, wanted))


class ArrivalRate:
    """Growth of a counter per second, averaged over a window."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._counts: deque[tuple[float, float]] = deque()

    def observe(self, now: float, count: float) -> None:
        """Note the counter. A smaller value than before means that the counter was restarted."""
        if self._counts and count < self._counts[-1][1]:
            self._counts.clear()
        self._counts.append((now, count))
        while len(self._counts) > 2 and self._counts[1][0] <= now - self._window_seconds:
            self._counts.popleft()

    @property
    def per_second(self) -> float:
        """The rate. Before a whole window has been observed, the missing part counts as zero growth."""
        if not self._counts:
            return 0.0
        (since, before), (until, after) = self._counts[0], self._counts[-1]
        return (after - before) / max(self._window_seconds, until - since)


class HighestOfLate:
    """Maximum over a sliding time window: it rises at once and falls only after `hold_seconds`."""

    def __init__(self, hold_seconds: float) -> None:
        self._hold_seconds = hold_seconds
        self._values: deque[tuple[float, int]] = deque()
        """(time, value) with decreasing values: a monotonic queue for the sliding-window maximum."""

    def begin(self, now: float, value: int) -> None:
        """Note a first value; without effect once there is one."""
        if not self._values:
            self._values.append((now, value))

    def of(self, now: float, value: int) -> int:
        """Note a value and return the maximum of the window."""
        while self._values and self._values[-1][1] <= value:
            self._values.pop()
        self._values.append((now, value))
        while self._values[0][0] < now - self._hold_seconds:
            self._values.popleft()
        return self._values[0][1]


class ScaleByWork:
    """Application-level policy: replicas of each deployment in `units_per_second`, from the tracker's work.

    Serve applies the bounds and delays of each `autoscaling_config`. Its delays should be 0, because this
    policy delays scaling down itself. Other deployments keep their replicas, and so do all deployments while
    the tracker does not answer.

    Args:
        units_per_second: Throughput of one fully loaded replica, by deployment (see UNITS). For deployments
            that share a GPU it is measured while the others are busy too.
        together: Groups of deployments that always have the same number of replicas.
        drain_seconds: Time in which all waiting and running work should be done. It must be longer than a job
            takes; otherwise work in progress counts like waiting work and starts too many replicas.
        headroom: Spare replicas, as a multiple of the square root of the busy ones.
        rate_seconds: Time over which arriving work is averaged.
        hold_seconds: Time for which fewer replicas must have been enough before any are stopped.
        tracker_name: `jobs.tracker_name` of the settings.
        tracker_namespace: `jobs.tracker_namespace` of the settings.

    Raises ValueError for a deployment whose kind has no entry in UNITS.

    """

    def __init__(
        self,
        units_per_second: Mapping[str, float],
        together: Collection[Collection[str]] = (),
        drain_seconds: float = 30.0,
        headroom: float = 1.5,
        rate_seconds: float = 60.0,
        hold_seconds: float = 180.0,
        tracker_name: str = "acestep-job-tracker",
        tracker_namespace: str = "acestep",
    ) -> None:
        named = {*units_per_second}.union(*together)
        if unknown := {name for name in named if name.partition("-")[0] not in UNITS}:
            raise ValueError(
                f"no work is known for {', '.join(sorted(unknown))}: choose of {', '.join(UNITS)}"
            )
        if missing := set().union(*together) - {*units_per_second}:
            raise ValueError(f"units_per_second says nothing of {', '.join(sorted(missing))}")
        self._units_per_second = dict(units_per_second)
        self._groups = {name: [name] for name in units_per_second}
        for group in together:
            self._groups |= {name: list(group) for name in group}
        self._drain_seconds = drain_seconds
        self._headroom = headroom
        self._rates = {name: ArrivalRate(rate_seconds) for name in units_per_second}
        self._withdrawals = {name: ArrivalRate(rate_seconds) for name in units_per_second}
        self._held = {name: HighestOfLate(hold_seconds) for name in units_per_second}
        self._left: dict[str, float] = {}
        self._observed_at = -math.inf
        self._tracker_name = (tracker_name, tracker_namespace)
        self._tracker: Any = None
        self._poll: asyncio.Task[None] | None = None
        self._poll_at = -math.inf
        self._is_silent = False

    def __call__(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """Serve calls this on its event loop with an AutoscalingContext for each DeploymentID."""
        now = max((context.current_time for context in contexts.values()), default=0.0)
        if now >= self._poll_at and (self._poll is None or self._poll.done()):
            self._poll = asyncio.get_running_loop().create_task(self._ask(now))
            self._poll_at = now + POLL_SECONDS
        return self.decide(contexts), {}

    def observe(self, demand: Demand, now: float) -> None:
        """Note the tracker's answer."""
        for name, rate in self._rates.items():
            rate.observe(now, self._replica_seconds(name, demand["submitted"]))
            # During an upgrade a tracker of an earlier release may answer, which does not report `withdrawn`.
            self._withdrawals[name].observe(now, self._replica_seconds(name, demand.get("withdrawn", {})))
            self._left[name] = sum(self._replica_seconds(name, demand[key]) for key in ("waiting", "running"))
        self._observed_at = now

    def decide(self, contexts: Mapping[Any, Any]) -> dict[Any, int]:
        """Replicas by DeploymentID; empty, which changes nothing, while the tracker's answer is stale."""
        known = {deployment.name: (deployment, context) for deployment, context in contexts.items()}
        now = max((context.current_time for context in contexts.values()), default=0.0)
        if now - self._observed_at > STALE_SECONDS:
            return {}
        wanted = {
            name: self._wanted(name, context)
            for name, (_, context) in known.items()
            if name in self._units_per_second
        }
        shared = {
            name: max(wanted[other] for other in self._groups[name] if other in wanted) for name in wanted
        }
        # The replicas that run when the policy starts are held, so a restarted controller stops none at once.
        for name in shared:
            self._held[name].begin(now, known[name][1].target_num_replicas)
        return {known[name][0]: self._held[name].of(now, count) for name, count in shared.items()}

    def _wanted(self, name: str, context: Any) -> int:
        return replicas_wanted(
            max(0.0, self._rates[name].per_second - self._withdrawals[name].per_second),
            self._left[name],
            self._drain_seconds,
            self._headroom,
            context.capacity_adjusted_min_replicas,
            context.capacity_adjusted_max_replicas,
        )

    def _replica_seconds(self, name: str, work: Mapping[str, float]) -> float:
        kind, _, checkpoint = name.partition("-")
        ending = f"/{checkpoint}" if checkpoint else ""
        units = sum(worth * work.get(stage + ending, 0.0) for stage, worth in UNITS[kind].items())
        return units / self._units_per_second[name]

    async def _ask(self, now: float) -> None:
        """Ask the tracker. Exceptions must not reach Serve's controller; the next poll tries again."""
        try:
            if self._tracker is None:
                name, namespace = self._tracker_name
                self._tracker = await asyncio.to_thread(ray.get_actor, name, namespace=namespace)
            async with asyncio.timeout(ANSWER_SECONDS):
                demand: Demand = await self._tracker.call.remote("demand")
            self.observe(demand, now)
            self._is_silent = False
        except Exception as error:
            self._tracker = None
            if not self._is_silent:
                logger.warning("the job tracker says nothing of its work, replicas stay: %r", error)
            self._is_silent = True
