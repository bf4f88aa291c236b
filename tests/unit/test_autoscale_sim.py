"""The simulator: replicas share their speed, no job is lost, and the policies act as Serve's would."""

import math

import pytest

from benchmarks.autoscale.deployment import Deployment, Job
from benchmarks.autoscale.parameters import H100, L4, TURBO, Mix, Speed
from benchmarks.autoscale.policies import FixedFleet, RayDefault, serve_default
from benchmarks.autoscale.simulation import Simulation
from benchmarks.autoscale.traffic import Traffic, arrivals, burst, diurnal, lost_node, steady
from benchmarks.autoscale_sim import fleet_for, ours

SAME = Mix(median_seconds=60.0, spread=0.0, longest_seconds=60.0, rows=8)


@pytest.mark.parametrize("fleet", [L4, H100])
def test_a_replica_is_as_fast_as_it_says_alone_and_full(fleet):
    for speed in fleet.values():
        assert 1 / speed.seconds_per_unit(1) == pytest.approx(speed.alone)
        each = 1 / speed.seconds_per_unit(speed.side_by_side)
        assert each * speed.side_by_side == pytest.approx(speed.full)
        assert speed.jobs_at(1.0) == pytest.approx(speed.side_by_side)


class Timeline:
    """The events of one deployment."""

    def __init__(self, speed: Speed) -> None:
        self.finished: dict[Job, float] = {}
        self._wakes: list = []
        self.deployment = Deployment(speed, self._wake, self._note, seed=0)

    def _wake(self, *wake) -> None:
        self._wakes.append(wake)

    def _note(self, now: float, job: Job) -> None:
        self.finished[job] = now

    def run(self) -> None:
        while self._wakes:
            self._wakes.sort(key=lambda wake: wake[0])
            now, action, replica, changes = self._wakes.pop(0)
            action(now, replica, changes)


def test_jobs_side_by_side_share_the_replica():
    timeline = Timeline(Speed(alone=10.0, full=10.0, side_by_side=2, cold_start_seconds=5.0))
    timeline.deployment.begin(1)
    long, short = Job(0.0, (100.0,)), Job(0.0, (20.0,))
    timeline.deployment.enter(0.0, long)
    timeline.deployment.enter(0.0, short)
    timeline.run()
    assert timeline.finished == {short: pytest.approx(4.0), long: pytest.approx(12.0)}


def test_a_job_waits_for_room_and_for_a_cold_start():
    timeline = Timeline(Speed(alone=10.0, full=20.0, side_by_side=2, cold_start_seconds=5.0))
    jobs = [Job(0.0, (10.0,)) for _ in range(3)]
    for job in jobs:
        timeline.deployment.enter(0.0, job)
    timeline.deployment.scale(0.0, 1)
    timeline.run()
    assert [timeline.finished[job] for job in jobs] == pytest.approx([6.0, 6.0, 7.0])


def test_a_replica_that_stops_finishes_its_jobs_and_holds_its_gpu_until_then():
    timeline = Timeline(Speed(alone=10.0, full=20.0, side_by_side=2, cold_start_seconds=5.0))
    timeline.deployment.begin(1)
    first, second = Job(0.0, (10.0,)), Job(0.0, (10.0,))
    timeline.deployment.enter(0.0, first)
    timeline.deployment.scale(0.0, 0)
    assert (timeline.deployment.target, timeline.deployment.held) == (0, 1)
    timeline.deployment.enter(0.5, second)
    timeline.run()
    assert timeline.finished == {first: pytest.approx(1.0)}
    assert (timeline.deployment.held, timeline.deployment.in_flight) == (0, 1)


@pytest.mark.parametrize(
    ("traffic", "at", "rate"),
    [
        (diurnal(0.5, 2.0, 24), 0.0, 0.5),
        (diurnal(0.5, 2.0, 24), 43_200.0, 2.0),
        (burst(0.1, 50, 1, 60, 60), 90, 5),
    ],
)
def test_traffic_has_the_rate_that_it_says(traffic, at, rate):
    assert traffic.rate(at) == pytest.approx(rate)


def test_every_policy_gets_the_same_jobs():
    jobs = list(arrivals(steady(1.0, 0.5), TURBO, seed=3))
    assert jobs == list(arrivals(steady(1.0, 0.5), TURBO, seed=3))
    assert len(jobs) == pytest.approx(1800, rel=0.1)
    assert all(50.0 <= codes <= 1500.0 and rows == 8 * seconds for _, (codes, rows, seconds) in jobs)


def test_a_job_on_an_idle_fleet_does_not_wait():
    traffic = steady(0.01, 1)
    outcome = Simulation(L4, 100, FixedFleet(dict.fromkeys(L4, 4)), dict.fromkeys(L4, 4)).run(
        traffic, SAME, 1
    )
    alone = 300 / L4["LanguageModel"].alone + 480 / L4["Generator"].alone + 60 / L4["Codec"].alone
    assert outcome.wait_p50 == pytest.approx(0.0, abs=1e-6)
    assert outcome.result_p95 >= alone
    # There are 4 language models and 4 pairs for an hour.
    assert outcome.gpu_hours == pytest.approx(8.0, rel=0.01)


def test_runners_bound_what_is_in_flight():
    fixed = dict.fromkeys(L4, 20)
    many = Simulation(L4, 100, FixedFleet(fixed), fixed).run(steady(1.0, 0.25), SAME, 1)
    one = Simulation(L4, 1, FixedFleet(fixed), fixed).run(steady(1.0, 0.25), SAME, 1)
    assert many.jobs == one.jobs
    assert one.wait_p50 > 100 * max(many.wait_p50, 0.1)


def test_jobs_of_a_lost_node_are_finished_by_others():
    traffic = lost_node(1.0, 0.25)
    submitted = len(list(arrivals(traffic, TURBO, 1)))
    fixed = fleet_for(L4, TURBO, 1.5)
    lost = Simulation(L4, 100, FixedFleet(fixed), fixed).run(traffic, TURBO, 1)
    kept = Simulation(L4, 100, FixedFleet(fixed), fixed).run(steady(1.0, 0.25), TURBO, 1)
    assert lost.jobs == kept.jobs == submitted
    assert lost.wait_p50 > kept.wait_p50


def test_ours_starts_from_nothing_and_ends_with_nothing():
    policy = ours(L4, dict.fromkeys(L4, 8), least=0)
    simulation = Simulation(L4, 100, policy, {})
    outcome = simulation.run(Traffic("morning", 1800.0, lambda at: 0.5 if at < 300 else 0.0, 0.5), SAME, 1)
    assert outcome.jobs > 100
    assert 45 < outcome.wait_p95 < 180  # The limit covers a cold start and the jobs that gathered meanwhile.
    assert {deployment.target for deployment in simulation._order} == {0}


def test_ours_waits_less_than_rays_default_in_a_burst_and_takes_no_more_gpu_hours():
    traffic = burst(0.1, times=50, hours=0.75, begin=600, seconds=120)
    begin = fleet_for(L4, TURBO, 0.1)
    ours_did = Simulation(L4, 1000, ours(L4, dict.fromkeys(L4, 64)), begin).run(traffic, TURBO, 1)
    default = RayDefault(serve_default(L4, 1, 64, 0.75))
    default_did = Simulation(L4, 1000, default, begin).run(traffic, TURBO, 1)
    assert ours_did.jobs == default_did.jobs
    assert ours_did.wait_p95 < default_did.wait_p95
    assert ours_did.gpu_hours <= 1.05 * default_did.gpu_hours


@pytest.mark.parametrize(("push_seconds", "grows"), [(10.0, True), (1e9, False)])
def test_rays_default_sees_no_more_than_was_pushed(push_seconds: float, grows: bool):
    default = RayDefault(serve_default(L4, 1, 64, 0.75), push_seconds=push_seconds)
    fleet = dict.fromkeys(L4, 1)
    simulation = Simulation(L4, 1000, default, fleet)
    simulation.run(burst(0.01, times=500, hours=0.02, begin=5, seconds=60), TURBO, 1)
    assert any(deployment.target > 1 for deployment in simulation._order) == grows


def test_there_are_no_quantiles_of_nothing():
    fixed = dict.fromkeys(L4, 1)
    nobody = Traffic("nobody", 60.0, lambda _: 0.0, 1.0)
    assert math.isnan(Simulation(L4, 1, FixedFleet(fixed), fixed).run(nobody, TURBO, 1).wait_p95)
