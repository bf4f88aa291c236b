"""Replicas from the tracker's work: the formula, its memory, and the call by Serve."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

import serve_app.autoscaling as autoscaling
from deployments.common.messages import STAGES
from serve_app.autoscaling import UNITS, ArrivalRate, HighestOfLate, ScaleByWork, replicas_wanted

SPEEDS = {"LanguageModel": 100.0, "Generator": 1000.0, "Codec": 50.0}


def context(name: str, now: float, target: int = 1) -> AutoscalingContext:
    """Return a context as Serve's controller makes it."""
    return AutoscalingContext(
        deployment_id=DeploymentID(name=name, app_name="acestep"),
        deployment_name=name,
        app_name="acestep",
        current_num_replicas=target,
        target_num_replicas=target,
        running_replicas=[],
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics={},
        raw_metrics={},
        capacity_adjusted_min_replicas=0,
        capacity_adjusted_max_replicas=100,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=now,
        config=AutoscalingConfig(min_replicas=0, max_replicas=100),
    )


def demand(submitted: float = 0.0, waiting: float = 0.0, running: float = 0.0) -> dict[str, dict[str, float]]:
    """Return a demand of the same seconds of one busy replica for every deployment."""

    def work(seconds: float) -> dict[str, float]:
        return {
            "composing": seconds * SPEEDS["LanguageModel"],
            "denoising": seconds * SPEEDS["Generator"],
            "decoding": seconds * SPEEDS["Codec"],
        }

    return {"submitted": work(submitted), "waiting": work(waiting), "running": work(running)}


def decided(
    policy: ScaleByWork, now: float, names: Iterable[str] = SPEEDS, target: int = 1
) -> dict[str, int]:
    contexts = [context(name, now, target) for name in names]
    decisions = policy.decide({each.deployment_id: each for each in contexts})
    return {deployment.name: count for deployment, count in decisions.items()}


@pytest.mark.parametrize(
    ("arriving", "left", "replicas"),
    [
        (0.0, 0.0, 0),
        (0.0, 0.001, 1),  # One short job is enough to begin.
        (0.0, 30.0, 1),
        (0.0, 300.0, 10),
        (4.0, 0.0, 6),  # The result is 4 and the square root of 4.
        (100.0, 0.0, 110),  # A large fleet needs relatively less reserve.
        (4.0, 90.0, 6),  # The arriving work needs more replicas.
        (4.0, 900.0, 30),  # The waiting work needs more replicas.
        (1e6, 0.0, 1000),
    ],
)
def test_replicas_keep_up_and_finish_what_is_there_in_time(arriving, left, replicas):
    assert replicas_wanted(arriving, left, 30.0, 1.0, minimum=0, maximum=1000) == replicas


def test_the_bounds_hold():
    assert replicas_wanted(0.0, 0.0, 30.0, 1.0, minimum=2, maximum=5) == 2
    assert replicas_wanted(9.0, 0.0, 30.0, 1.0, minimum=2, maximum=5) == 5


def test_the_rate_is_that_of_the_window():
    rate = ArrivalRate(60.0)
    assert rate.per_second == 0.0
    for seconds in range(0, 121, 10):
        rate.observe(seconds, 2.0 * seconds)
    assert rate.per_second == pytest.approx(2.0)
    for seconds in range(130, 200, 10):
        rate.observe(seconds, 240.0)
    assert rate.per_second == 0.0


def test_a_short_history_counts_as_if_nothing_had_come_before():
    rate = ArrivalRate(60.0)
    rate.observe(0.0, 500.0)  # These jobs were submitted before the first observation.
    rate.observe(1.0, 530.0)
    assert rate.per_second == pytest.approx(0.5)


def test_a_tracker_that_starts_again_counts_from_nothing():
    rate = ArrivalRate(60.0)
    rate.observe(0.0, 1000.0)
    rate.observe(60.0, 1600.0)
    rate.observe(61.0, 5.0)
    assert rate.per_second == 0.0
    rate.observe(62.0, 65.0)
    assert rate.per_second == pytest.approx(1.0)


def test_a_gap_in_the_answers_is_no_burst():
    rate = ArrivalRate(60.0)
    rate.observe(0.0, 0.0)
    rate.observe(600.0, 600.0)
    assert rate.per_second == pytest.approx(1.0)


def test_it_rises_at_once_and_falls_late():
    late = HighestOfLate(180.0)
    assert [late.of(*seen) for seen in [(0, 3), (10, 7), (20, 5), (190, 1)]] == [3, 7, 7, 7]
    assert [late.of(seconds, 1) for seconds in (191, 200, 201, 400)] == [5, 5, 1, 1]


def test_work_that_waits_for_the_first_stage_starts_all_deployments():
    policy = ScaleByWork(SPEEDS, drain_seconds=30.0)
    policy.observe(demand(waiting=200.0, running=100.0), 0.0)
    assert decided(policy, 0.0) == {"LanguageModel": 10, "Generator": 10, "Codec": 10}


def test_metadata_is_work_of_the_language_model():
    policy = ScaleByWork(SPEEDS, drain_seconds=10.0)
    nothing: dict[str, float] = {}
    policy.observe({"submitted": nothing, "waiting": {"planning": 50.0}, "running": nothing}, 0.0)
    tokens = 50 * UNITS["LanguageModel"]["planning"]
    assert decided(policy, 0.0)["LanguageModel"] == -(-tokens // (SPEEDS["LanguageModel"] * 10))


def test_deployments_that_are_together_get_what_the_one_of_them_needs_that_needs_more():
    policy = ScaleByWork(SPEEDS | {"Codec": 10.0}, together=[["Generator", "Codec"]], drain_seconds=30.0)
    policy.observe(demand(waiting=300.0), 0.0)
    assert decided(policy, 0.0) == {"LanguageModel": 10, "Generator": 50, "Codec": 50}


def test_each_checkpoint_is_scaled_by_its_own_work():
    base = "Generator-acestep-v15-base"
    policy = ScaleByWork(SPEEDS | {base: 100.0, "LanguageModel-small": 10.0}, drain_seconds=10.0)
    waiting = {"denoising": 20_000.0, "denoising/acestep-v15-base": 5_000.0, "composing/small": 300.0}
    policy.observe({"submitted": {}, "waiting": waiting, "running": {}}, 0.0)
    names = ["Generator", base, "LanguageModel-small"]
    assert decided(policy, 0.0, names) == {"Generator": 2, base: 5, "LanguageModel-small": 3}


def test_fewer_replicas_only_after_they_were_enough_for_a_while():
    policy = ScaleByWork(SPEEDS, drain_seconds=30.0, hold_seconds=180.0)
    policy.observe(demand(waiting=300.0), 0.0)
    assert decided(policy, 0.0)["Generator"] == 10
    policy.observe(demand(), 100.0)
    assert decided(policy, 100.0)["Generator"] == 10
    policy.observe(demand(), 179.0)
    assert decided(policy, 179.0)["Generator"] == 10
    policy.observe(demand(), 181.0)
    assert decided(policy, 181.0)["Generator"] == 0


def test_a_controller_that_starts_again_stops_nothing_at_once():
    policy = ScaleByWork(SPEEDS, hold_seconds=180.0)
    policy.observe(demand(), 0.0)
    assert decided(policy, 0.0, ["Generator"], target=8) == {"Generator": 8}
    policy.observe(demand(), 181.0)
    assert decided(policy, 181.0, ["Generator"], target=8) == {"Generator": 0}


def test_other_deployments_are_left_to_serve():
    policy = ScaleByWork({"Generator": 1000.0})
    policy.observe(demand(waiting=300.0), 0.0)
    assert decided(policy, 0.0, ["Generator", "Ingress"]) == {"Generator": 10}


@pytest.mark.parametrize("silent_for", [autoscaling.STALE_SECONDS + 1, 1e6])
def test_a_tracker_that_says_nothing_decides_nothing(silent_for):
    policy = ScaleByWork(SPEEDS)
    assert decided(policy, 0.0) == {}
    policy.observe(demand(waiting=300.0), 0.0)
    assert decided(policy, autoscaling.STALE_SECONDS) != {}
    assert decided(policy, silent_for) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        {"units_per_second": {"LanguageModel": 1.0, "Mixer": 1.0}},
        {"units_per_second": SPEEDS, "together": [["Generator", "Mixer"]]},
        {"units_per_second": {"Generator": 1.0}, "together": [["Generator", "Codec"]]},
    ],
)
def test_a_deployment_that_nothing_is_known_of_is_refused(arguments: dict[str, Any]):
    with pytest.raises(ValueError, match=r"Mixer|Codec"):
        ScaleByWork(**arguments)


def test_the_units_are_of_stages_that_the_tracker_knows():
    assert {stage for stages in UNITS.values() for stage in stages} <= {*STAGES}


def test_the_controller_needs_nothing_of_this_project_for_it(tmp_path: Path):
    arguments = {"units_per_second": SPEEDS, "together": [["Generator", "Codec"]]}
    policy = AutoscalingPolicy(policy_function="serve_app.autoscaling:ScaleByWork", policy_kwargs=arguments)
    generator = context("Generator", 0.0)
    (tmp_path / "policy").write_bytes(policy.get_serialized_policy_def())
    (tmp_path / "contexts").write_bytes(pickle.dumps({generator.deployment_id: generator}))
    elsewhere = f"""
import pathlib, sys
sys.modules["serve_app"] = None  # any import of it fails
from ray import cloudpickle
policy, contexts = (cloudpickle.loads(pathlib.Path(name).read_bytes()) for name in ("policy", "contexts"))
policy = policy(**{arguments!r})
policy.observe({demand(waiting=300.0)!r}, 0.0)
print(*policy.decide(contexts).values())
"""
    command = [sys.executable, "-c", elsewhere]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert answer.stdout.split() == ["10"]


class Remote:
    """A method of an actor's handle."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = answers

    async def remote(self, method: str) -> Any:
        assert method == "demand"
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Tracker:
    def __init__(self, *answers: Any) -> None:
        self.call = Remote(list(answers))


async def called(policy: ScaleByWork, now: float) -> dict[str, int]:
    """Call the policy as Serve does, after the answer to the previous question has arrived."""
    generator = context("Generator", now)
    policy({generator.deployment_id: generator})
    for _ in range(20):
        await asyncio.sleep(0.005)
    generator = context("Generator", now + 0.1)
    decisions, state = policy({generator.deployment_id: generator})
    assert state == {}
    return {deployment.name: count for deployment, count in decisions.items()}


async def test_the_tracker_is_asked_without_waiting_and_again_when_it_failed(monkeypatch, caplog):
    trackers = [
        Tracker(demand(waiting=300.0), RuntimeError("the store is away"), RuntimeError("still away")),
        Tracker(demand(waiting=600.0)),
    ]
    monkeypatch.setattr(autoscaling.ray, "get_actor", lambda *_, **__: trackers[0])
    policy = ScaleByWork(SPEEDS)
    generator = context("Generator", 0.0)
    assert policy({generator.deployment_id: generator}) == ({}, {})  # The answer has not arrived yet.
    assert await called(policy, 1.0) == {"Generator": 10}
    assert await called(policy, 2.0) == {"Generator": 10}
    assert await called(policy, 3.0) == {"Generator": 10}
    assert len([record for record in caplog.records if "job tracker" in record.message]) == 1
    del trackers[0]
    assert await called(policy, 4.0) == {"Generator": 20}
