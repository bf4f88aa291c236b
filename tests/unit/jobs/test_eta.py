"""`eta_seconds` is within 30 % of the truth for 80 % of the polls of waiting jobs."""

import math
from dataclasses import replace

import pytest

from serve_app.jobs.errors import LimitError
from serve_app.jobs.model import Checkpoint
from serve_app.jobs.progress import STAGE_SHARES
from serve_app.request.work import Work
from tests.job_tracking import WORK, Tracking
from tests.queue_simulation import (
    Sharing,
    Simulation,
    batching_engines,
    engine_for_each_stage,
    one_processor,
)

GOAL = 0.8
SEEDS = (1, 2, 3)
MEAN_SECONDS = 3.0
"""Mean seconds of a simulated job that runs alone."""

SERVERS = pytest.mark.parametrize(
    ("runners", "sharing", "capacity"),
    [
        (1, one_processor, 1.0),
        (2, one_processor, 1.0),
        (2, batching_engines, 1.5),
        (2, engine_for_each_stage, 1.3),
        (4, one_processor, 1.0),
        (4, batching_engines, 2.5),
    ],
)
"""The last column is the number of jobs done in the time of one."""


def eta(tracking: Tracking, job_id: str) -> float:
    view = tracking.tracker.view(job_id)
    assert view is not None
    assert view.eta_seconds is not None
    assert math.isfinite(view.eta_seconds)
    assert view.eta_seconds >= 0
    return view.eta_seconds


def test_without_history_each_position_is_five_seconds() -> None:
    tracking = Tracking()
    jobs = [tracking.submit() for _ in range(5)]
    assert [eta(tracking, job) for job in jobs] == [5.0, 10.0, 15.0, 20.0, 25.0]


def test_a_measured_job_tells_how_long_the_next_takes() -> None:
    tracking = Tracking()
    tracking.submit()
    tracking.run_next(seconds=12)
    waiting = [tracking.submit() for _ in range(3)]
    assert [eta(tracking, job) for job in waiting] == pytest.approx([12, 24, 36])


def test_a_song_twice_as_long_is_expected_to_take_twice_as_long() -> None:
    tracking = Tracking()
    tracking.submit()
    tracking.run_next(seconds=4, denoising=4.0)
    assert eta(tracking, tracking.submit(work=WORK.lasting(20))) == pytest.approx(8)


def test_what_runs_counts_with_what_is_left_of_it() -> None:
    tracking = Tracking()
    tracking.submit()
    tracking.run_next(seconds=10)
    tracking.submit()
    waiting = tracking.submit()
    tracking.tracker.claim("token")
    assert eta(tracking, waiting) == pytest.approx(20)
    tracking.clock.now += 4
    assert eta(tracking, waiting) == pytest.approx(16)


def test_a_stage_that_a_job_does_not_have_is_not_counted() -> None:
    tracking = Tracking()
    thinking = Work(1, calls=(0.0, 1.0, 1.0, 0.0, 0.0), units=(0.0, 50.0, 80.0, 0.0, 10.0))
    tracking.submit(work=thinking)
    tracking.run_next(seconds=10, composing=6.0, denoising=4.0)
    assert eta(tracking, tracking.submit(work=WORK)) == pytest.approx(4)


def test_a_stage_that_nobody_has_had_yet_is_counted_by_its_usual_share() -> None:
    tracking = Tracking()
    tracking.submit()
    tracking.run_next(seconds=4)
    thinking = Work(1, calls=(0.0, 1.0, 1.0, 0.0, 0.0), units=(0.0, 50.0, 80.0, 0.0, 10.0))
    expected = 4 + 4 * STAGE_SHARES["composing"] / STAGE_SHARES["denoising"]
    assert eta(tracking, tracking.submit(work=thinking)) == pytest.approx(expected)


def denoised_by(dit: str) -> Work:
    return replace(WORK, models={f"denoising/{dit}": (1.0, 80.0, 0.0)})


def test_a_checkpoint_has_a_speed_of_its_own() -> None:
    tracking = Tracking()
    for dit, seconds in (("turbo", 4.0), ("base", 40.0)):
        tracking.submit(work=denoised_by(dit))
        tracking.run_next(seconds=seconds, denoising=seconds)
    turbo, base = (tracking.submit(work=denoised_by(dit)) for dit in ("turbo", "base"))
    assert (eta(tracking, turbo), eta(tracking, base)) == (pytest.approx(4), pytest.approx(44))
    tracking.submit(work=denoised_by("base").lasting(20))
    assert eta(tracking, tracking.submit(work=denoised_by("turbo"))) == pytest.approx(44 + 80 + 4)


def test_a_checkpoint_that_no_job_had_yet_has_the_speed_of_all() -> None:
    tracking = Tracking()
    tracking.submit(work=denoised_by("turbo"))
    tracking.run_next(seconds=4, denoising=4.0)
    assert eta(tracking, tracking.submit(work=denoised_by("base"))) == pytest.approx(4)


def test_the_speed_of_a_checkpoint_is_known_after_a_restart() -> None:
    tracking = Tracking()
    for dit, seconds in (("turbo", 4.0), ("base", 40.0)):
        tracking.submit(work=denoised_by(dit))
        tracking.run_next(seconds=seconds, denoising=seconds)
    tracking.restart()
    assert eta(tracking, tracking.submit(work=denoised_by("base"))) == pytest.approx(40)


def test_a_long_queue_is_as_long_as_its_jobs_on_their_checkpoints() -> None:
    tracking = Tracking()
    for dit, seconds in (("turbo", 4.0), ("base", 40.0)):
        tracking.submit(work=denoised_by(dit))
        tracking.run_next(seconds=seconds, denoising=seconds)
    waiting = [
        tracking.submit(work=denoised_by("base" if place % 4 == 0 else "turbo")) for place in range(60)
    ]
    assert eta(tracking, waiting[-1]) == pytest.approx(15 * 40 + 45 * 4)


@SERVERS
def test_goal_with_a_queue_that_stays_as_long_as_it_is(
    runners: int, sharing: Sharing, capacity: float
) -> None:
    assert capacity <= runners
    for seed in SEEDS:
        simulation = Simulation(seed, runners, sharing)
        simulation.closed(outstanding=runners + 6, jobs=80)
        assert simulation.honest_share() >= GOAL, f"seed {seed}"


@SERVERS
def test_goal_with_jobs_that_come_when_they_like(runners: int, sharing: Sharing, capacity: float) -> None:
    for seed in SEEDS:
        simulation = Simulation(seed, runners, sharing)
        simulation.poisson(jobs=80, mean_gap=MEAN_SECONDS / capacity / 0.9)
        assert simulation.honest_share() >= GOAL, f"seed {seed}"


def test_goal_after_a_restart_on_the_same_store() -> None:
    """The measured speeds are read from the jobs that ended before the restart."""
    tracking = Tracking()
    Simulation(1, 2, tracking=tracking).closed(outstanding=5, jobs=40)
    tracking.restart()
    simulation = Simulation(2, 2, tracking=tracking)
    simulation.closed(outstanding=8, jobs=40)
    assert len(simulation.polls) > 100
    assert simulation.honest_share() >= GOAL


@pytest.mark.parametrize("runners", [1, 2, 4])
def test_retry_after_of_a_full_queue_is_when_a_job_has_ended(runners: int) -> None:
    simulation = Simulation(1, runners, tracking=Tracking(queue_limit=8))
    simulation.closed(outstanding=runners + 8, jobs=80)
    told = simulation.honest_refusals()
    assert len(told) > 20
    assert sum(told) >= GOAL * len(told)


def test_retry_after_of_a_client_is_when_its_own_next_job_ends() -> None:
    tracking = Tracking(client_jobs=2)
    tracking.submit()
    tracking.run_next(seconds=10)
    tracking.submit("other")
    tracking.tracker.claim("token of other")
    for _ in range(2):
        tracking.submit("me")
    with pytest.raises(LimitError) as refused:
        tracking.submit("me")
    assert refused.value.retry_after == pytest.approx(20)
    tracking.submit("other")


def test_a_restarted_tracker_learns_from_jobs_of_one_attempt_only() -> None:
    tracking = Tracking(initial_job_seconds=5.0)
    job_id = tracking.submit()
    tracking.tracker.claim("first")
    assert tracking.tracker.fail(job_id, "first", "Away.", retryable=True)
    tracking.run_next(seconds=40)
    tracking.restart()
    assert eta(tracking, tracking.submit()) == 5.0
    tracking.run_next(seconds=20)
    tracking.restart()
    assert eta(tracking, tracking.submit()) == pytest.approx(20.0)


def test_far_positions_are_predicted_like_near_ones_on_average() -> None:
    tracking = Tracking(queue_limit=100, client_jobs=100)
    tracking.run_next_of(10)
    jobs = [tracking.submit() for _ in range(44)]
    for number in range(4):
        tracking.tracker.claim(f"runner {number}")
    near, far = ([eta(tracking, job_id) for job_id in jobs[first : first + 4]] for first in (32, 36))
    assert near == pytest.approx([90.0] * 4)
    assert sum(far) / len(far) == pytest.approx(100.0)


def test_a_job_is_predicted_without_the_stages_that_its_checkpoint_holds() -> None:
    tracking = Tracking()
    composed = Work(1, calls=(0.0, 1.0, 1.0, 0.0, 0.0), units=(0.0, 50.0, 80.0, 0.0, 10.0))
    tracking.submit(work=composed)
    tracking.run_next(seconds=12.0, composing=4.0, denoising=8.0)
    job_id = tracking.submit(work=composed)
    assert eta(tracking, job_id) == pytest.approx(12.0)
    tracking.tracker.claim("token")
    assert tracking.tracker.checkpoint(job_id, "token", Checkpoint(codes=((1,) * 50,)))
    assert tracking.tracker.release(job_id, "token")
    assert eta(tracking, job_id) == pytest.approx(8.0)


def test_unmeasured_work_is_finite() -> None:
    tracking = Tracking()
    tracking.submit()
    tracking.run_next(seconds=0, denoising=0.0)
    assert eta(tracking, tracking.submit(work=Work(1))) == 0
