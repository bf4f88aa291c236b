"""The policies that the benchmark compares.

Serve's own autoscaling state calls them, as its controller does.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from unittest.mock import patch

from ray.serve._private.autoscaling_state import ApplicationAutoscalingState
from ray.serve._private.common import (
    DeploymentHandleSource,
    DeploymentID,
    HandleMetricReport,
    ReplicaID,
    TimeStampedValue,
)
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.autoscaling_policy import _apply_app_level_autoscaling_config
from ray.serve.config import AutoscalingConfig

from benchmarks.autoscale.parameters import PUSH_SECONDS, RECORDS_PER_LOOK_BACK, Fleet
from serve_app.autoscaling import Demand, ScaleByWork

APPLICATION = "acestep"


class Clock:
    """Replaces `time` in Ray's modules."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@contextmanager
def simulated_time(clock: Clock) -> Iterator[None]:
    """Let Serve's controller see the simulation's time inside the block."""
    with (
        patch("ray.serve._private.autoscaling_state.time", clock),
        patch("ray.serve.autoscaling_policy.time", clock),
    ):
        yield


class Policy(Protocol):
    """Chooses target replicas for all deployments.

    `in_flight` and `running` are jobs and replicas by deployment.
    """

    def targets(
        self,
        now: float,
        demand: Demand,
        in_flight: Mapping[str, int],
        running: Mapping[str, int],
        targets: Mapping[str, int],
    ) -> dict[str, int]: ...


class FixedFleet:
    """Keeps the same number of replicas at all times."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = dict(counts)

    def targets(self, *_: object) -> dict[str, int]:
        return self._counts


class _Serve:
    """Holds Serve's autoscaling state of the application, as its controller has it."""

    def __init__(self, configs: Mapping[str, AutoscalingConfig]) -> None:
        self._ids = {name: DeploymentID(name=name, app_name=APPLICATION) for name in configs}
        self._replicas: dict[str, list[ReplicaID]] = {name: [] for name in configs}
        self._state = ApplicationAutoscalingState(APPLICATION)
        for name, config in configs.items():
            info = DeploymentInfo(DeploymentConfig(autoscaling_config=config), None, 0, "")
            self._state.register_deployment(self._ids[name], info, config.min_replicas)

    def decide(self, running: Mapping[str, int], targets: Mapping[str, int]) -> dict[str, int]:
        for name, count in running.items():
            if len(self._replicas[name]) != count:
                identity = self._ids[name]
                self._replicas[name] = [ReplicaID(str(number), identity) for number in range(count)]
                self._state.update_running_replica_ids(identity, self._replicas[name])
        decisions = self._state.get_decision_num_replicas(
            {identity: targets[name] for name, identity in self._ids.items()}
        )
        return {name: decisions.get(identity, targets[name]) for name, identity in self._ids.items()}


class RayDefault(_Serve):
    """Applies `replica_queue_length_autoscaling_policy` to the numbers that the handles report."""

    def __init__(self, configs: Mapping[str, AutoscalingConfig], push_seconds: float = PUSH_SECONDS) -> None:
        super().__init__(configs)
        self._push_seconds = push_seconds
        self._pushed_at = self._recorded_at = 0.0
        look_back = min(config.look_back_period_s for config in configs.values())
        self._record_seconds = min(RECORDS_PER_LOOK_BACK * look_back, push_seconds)
        self._records: deque[tuple[float, dict[str, int]]] = deque(
            maxlen=round(look_back / self._record_seconds)
        )

    def targets(
        self,
        now: float,
        _demand: Demand,
        in_flight: Mapping[str, int],
        running: Mapping[str, int],
        targets: Mapping[str, int],
    ) -> dict[str, int]:
        if not self._records or now - self._recorded_at >= self._record_seconds:
            self._records.append((now, dict(in_flight)))
            self._recorded_at = now
        if now - self._pushed_at >= self._push_seconds:
            self._push(now)
            self._pushed_at = now
        return self.decide(running, targets)

    def _push(self, now: float) -> None:
        for name, identity in self._ids.items():
            # The controller adds up the running and waiting requests of all handles, so one handle that
            # reports all of them is equivalent.
            series = [TimeStampedValue(at, float(counts[name])) for at, counts in self._records]
            self._state.record_request_metrics_for_handle(
                HandleMetricReport(
                    deployment_id=identity,
                    handle_id=name,
                    actor_id="",
                    handle_source=DeploymentHandleSource.UNKNOWN,
                    queued_requests=series,
                    metrics={},
                    timestamp=now,
                )
            )


class Ours(_Serve):
    """Applies `ScaleByWork` through Serve's wrapper for policies of an application."""

    def __init__(self, configs: Mapping[str, AutoscalingConfig], policy: ScaleByWork) -> None:
        super().__init__(configs)
        self._policy = policy
        self._state._policy = _apply_app_level_autoscaling_config(self._decide)

    def targets(
        self,
        now: float,
        demand: Demand,
        _in_flight: Mapping[str, int],
        running: Mapping[str, int],
        targets: Mapping[str, int],
    ) -> dict[str, int]:
        self._policy.observe(demand, now)
        return self.decide(running, targets)

    def _decide(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        return self._policy.decide(contexts), {}


def serve_default(
    fleet: Fleet, minimum: int, maximum: int, busy: float, **options: Any
) -> dict[str, AutoscalingConfig]:
    """Return Serve's defaults with the target of requests at which a replica is `busy` (0 to 1)."""
    return {
        name: AutoscalingConfig(
            min_replicas=minimum,
            max_replicas=maximum,
            target_ongoing_requests=speed.jobs_at(busy),
            **options,
        )
        for name, speed in fleet.items()
    }


def without_delays(minimum: int, most: Mapping[str, int]) -> dict[str, AutoscalingConfig]:
    """Return a configuration without Serve's delays, because our policy has delays of its own."""
    delays = {"upscale_delay_s": 0.0, "downscale_delay_s": 0.0}
    return {
        name: AutoscalingConfig(min_replicas=minimum, max_replicas=maximum, **delays)
        for name, maximum in most.items()
    }
