"""How many replicas of each model deployment its work asks for.

Serve's own policy counts the requests in flight. This one asks the job tracker for all the work that clients
are waiting for, in the units of each deployment, so that the Generator is started for songs that the
LanguageModel has yet to write. In the config file:

    applications:
    - autoscaling_policy:
        policy_function: serve_app.autoscaling:ScaleByWork
        policy_kwargs: {units_per_second: {LanguageModel: 2500, Generator: 3700, Codec: 600}}

Serve pickles this module by value and calls the policy in its controller, several times a second: it imports
nothing else of the project, and never blocks.
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
"""Units of work by stage.

`submitted`: all that ever came; `withdrawn`: how much of that was cancelled before it was done; `waiting` and
`running`: what is left to do.
"""

UNITS: dict[str, dict[str, float]] = {
    "LanguageModel": {"planning": 120.0, "composing": 1.0},
    "Generator": {"denoising": 1.0},
    "Codec": {"decoding": 1.0},
}
"""The deployments' stages. A unit is a code; a second of audio through the DiT once; a second of audio.

Metadata is some 120 tokens, and a job's only unit of planning.
"""

POLL_SECONDS = 1.0
ANSWER_SECONDS = 5.0
"""A tracker that takes longer is asked again."""
STALE_SECONDS = 15.0
"""Older answers decide nothing: the replicas stay as they are."""


def replicas_wanted(
    arriving: float, left: float, drain_seconds: float, headroom: float, minimum: int, maximum: int
) -> int:
    """Replicas that keep up with what arrives, and finish all that is there in `drain_seconds`.

    Work is counted in seconds of one busy replica: `arriving` in each second, `left` in all. The square root
    is what arrivals at random deviate by (square-root staffing; Halfin and Whitt 1981): a large fleet needs
    relatively less to spare.
    """
    keeping_up = arriving + headroom * math.sqrt(arriving)
    wanted = math.ceil(max(keeping_up, left / drain_seconds))
    return max(minimum, min(maximum, wanted))


class ArrivalRate:
    """Growth of a counter per second, over a window."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._counts: deque[tuple[float, float]] = deque()

    def observe(self, now: float, count: float) -> None:
        """Note the counter. One that is smaller than before has been started anew."""
        if self._counts and count < self._counts[-1][1]:
            self._counts.clear()
        self._counts.append((now, count))
        while len(self._counts) > 2 and self._counts[1][0] <= now - self._window_seconds:
            self._counts.popleft()

    @property
    def per_second(self) -> float:
        """A history shorter than the window counts as if nothing had come before it."""
        if not self._counts:
            return 0.0
        (since, before), (until, after) = self._counts[0], self._counts[-1]
        return (after - before) / max(self._window_seconds, until - since)


class HighestOfLate:
    """The highest value of the last seconds: rises at once, falls late."""

    def __init__(self, hold_seconds: float) -> None:
        self._hold_seconds = hold_seconds
        self._values: deque[tuple[float, int]] = deque()
        """Falling; smaller values before a larger one have no say any more."""

    def begin(self, now: float, value: int) -> None:
        """Note a value where there is none yet."""
        if not self._values:
            self._values.append((now, value))

    def of(self, now: float, value: int) -> int:
        """Note a value; the highest of late."""
        while self._values and self._values[-1][1] <= value:
            self._values.pop()
        self._values.append((now, value))
        while self._values[0][0] < now - self._hold_seconds:
            self._values.popleft()
        return self._values[0][1]


class ScaleByWork:
    """Application-level policy: replicas of each deployment in `units_per_second`, from the tracker's work.

    Serve applies the bounds and delays of each `autoscaling_config`; as holding back is done here, its delays
    should be 0. Other deployments are left as they are, and so are all while the tracker can't be asked.

    Args:
        units_per_second: What one replica gets done when it has plenty to do, by deployment (see UNITS); of
            deployments that share a GPU, while the others are busy, too.
        together: Groups of deployments of which there are always equally many.
        drain_seconds: All that waits and runs should be done in this time. It must be longer than jobs take:
            work in progress would count as work that waits, and start too many replicas.
        headroom: Replicas to spare, relative to the square root of those that are busy.
        rate_seconds: Time over which the work that arrives is averaged.
        hold_seconds: How long fewer replicas must have been enough before any are stopped.
        tracker_name: `jobs.tracker_name` of the settings.
        tracker_namespace: `jobs.tracker_namespace` of the settings.

    Raises ValueError for a deployment that it knows no work of.

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
        if unknown := {*units_per_second}.union(*together) - {*UNITS}:
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
        """Serve's call, from its event loop: an AutoscalingContext for each DeploymentID."""
        now = max((context.current_time for context in contexts.values()), default=0.0)
        if now >= self._poll_at and (self._poll is None or self._poll.done()):
            self._poll = asyncio.get_running_loop().create_task(self._ask(now))
            self._poll_at = now + POLL_SECONDS
        return self.decide(contexts), {}

    def observe(self, demand: Demand, now: float) -> None:
        """Note the tracker's answer."""
        for name, rate in self._rates.items():
            rate.observe(now, self._replica_seconds(name, demand["submitted"]))
            # A tracker of an earlier release, which runs on for a moment, does not tell it.
            self._withdrawals[name].observe(now, self._replica_seconds(name, demand.get("withdrawn", {})))
            self._left[name] = sum(self._replica_seconds(name, demand[key]) for key in ("waiting", "running"))
        self._observed_at = now

    def decide(self, contexts: Mapping[Any, Any]) -> dict[Any, int]:
        """Replicas of the deployments that it knows; none while the tracker's answer is old."""
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
        # What runs when the policy begins counts, too: a controller that starts again stops nothing at once.
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
        units = sum(worth * work.get(stage, 0.0) for stage, worth in UNITS[name].items())
        return units / self._units_per_second[name]

    async def _ask(self, now: float) -> None:
        """Whatever goes wrong here must not reach Serve's controller, and is tried again."""
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
