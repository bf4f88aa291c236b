"""`start_within_seconds` and `keep_seconds`: the times by which a job begins and is gone."""

from pathlib import Path

import pytest

from configs.settings import Settings
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.errors import JobEndedError, LimitError
from serve_app.jobs.model import Client, JobState, NewJob
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from tests.housekeeping import DAY, Housekeeping
from tests.job_tracking import WORK, Tracking


def hurried(job_id: str = "a", within: float | None = 30.0, keep: float | None = None) -> NewJob:
    request = GenerateRequest(caption="calm piano", start_within_seconds=within, keep_seconds=keep)
    return NewJob(job_id, JobSpec(request, seeds=(1,)), WORK, Client("ann"))


def state(tracking: Tracking, job_id: str = "a") -> JobState | None:
    view = tracking.view(job_id)
    return view and view.state


def test_a_job_that_has_not_begun_in_time_fails_with_a_sentence() -> None:
    tracking = Tracking()
    tracking.take(hurried())
    tracking.submit()
    tracking.wait(29)
    assert tracking.tracker.fail_late() == []
    tracking.wait(1)
    assert tracking.tracker.fail_late() == ["a"]
    assert tracking.tracker.fail_late() == []
    view = tracking.view("a")
    assert view is not None
    assert (view.state, view.queue_position, view.attempt) == (JobState.FAILED, 0, 0)
    assert view.error == ("The server was too busy: the job had not begun within the 30 s that it was given.")
    with pytest.raises(JobEndedError):
        tracking.tracker.cancel("a")
    demand = tracking.tracker.demand()
    assert demand["withdrawn"]["denoising"] == WORK.units[2]
    assert tracking.tracker.stats().jobs == {
        "queued": 1, "running": 0, "succeeded": 0, "failed": 1, "cancelled": 0,
    }  # fmt: skip


def test_a_job_that_has_begun_in_time_may_go_on_in_another_attempt() -> None:
    tracking = Tracking(lease_seconds=20)
    tracking.take(hurried())
    tracking.tracker.claim("token")
    tracking.wait(40)
    assert tracking.tracker.requeue_expired() == ["a"]
    assert tracking.tracker.fail_late() == []
    tracking.restart()
    assert tracking.tracker.fail_late() == []
    assert tracking.tracker.claim("another") is not None
    assert tracking.tracker.release("a", "another")
    assert tracking.tracker.fail_late() == []


def test_a_deadline_survives_a_restart_and_a_clock_that_is_set() -> None:
    tracking = Tracking()
    tracking.steady = type(tracking.clock)()
    tracking.start()
    tracking.take(hurried())
    tracking.clock.now += DAY
    assert tracking.tracker.fail_late() == []
    tracking.clock.now -= DAY
    tracking.wait(20)
    tracking.restart()
    tracking.wait(9)
    assert tracking.tracker.fail_late() == []
    tracking.wait(1)
    assert tracking.tracker.fail_late() == ["a"]


def test_a_deadline_is_not_later_where_the_clock_was_set_back_before_a_restart() -> None:
    tracking = Tracking()
    tracking.steady = type(tracking.clock)()
    tracking.start()
    tracking.take(hurried())
    tracking.clock.now -= DAY
    tracking.restart()
    tracking.wait(29)
    assert tracking.tracker.fail_late() == []
    tracking.wait(1)
    assert tracking.tracker.fail_late() == ["a"]


def test_a_job_that_was_late_before_its_submit_failed_is_counted_once() -> None:
    tracking = Tracking(client_jobs=2)
    tracking.submit("ann")
    late = hurried()
    tracking.take(late)
    tracking.wait(30)
    assert tracking.tracker.fail_late() == ["a"]
    tracking.tracker.withdraw(late)
    assert tracking.record("a") is None
    assert tracking.tracker.ended.untidy() == []
    assert tracking.tracker.demand()["withdrawn"]["denoising"] == WORK.units[2]
    assert sum(tracking.tracker.stats().jobs.values()) == 1
    tracking.submit("ann")
    with pytest.raises(LimitError, match="You have 2 jobs"):
        tracking.submit("ann")


def test_an_operator_s_requeue_overrides_the_deadline() -> None:
    tracking = Tracking()
    tracking.take(hurried())
    tracking.wait(30)
    tracking.tracker.fail_late()
    tracking.tidied("a")
    tracking.tracker.requeue("a")
    tracking.wait(60)
    assert tracking.tracker.fail_late() == []
    assert state(tracking) is JobState.QUEUED


async def test_no_job_is_claimed_late_and_who_waits_for_it_hears_of_it(tmp_path: Path) -> None:
    settings = Settings(
        jobs={"store": str(tmp_path / "jobs.sqlite3")}, storage={"uri": str(tmp_path / "output")}
    )
    tracker = DurableTracker(settings)
    await tracker.submit(hurried("late", within=0.05))
    await tracker.submit(hurried("patient", within=None))
    view = await tracker.wait_end("late", 30)
    assert view is not None
    assert view.state is JobState.FAILED
    claim = await tracker.claim("token", 0)
    assert claim is not None
    assert claim.job.job_id == "patient"
    await tracker.close()


def test_polls_tell_when_a_job_expires() -> None:
    tracking = Tracking()
    tracking.take(hurried("a", within=None))
    tracking.take(hurried("b", within=None, keep=60.0))
    tracking.take(hurried("c", within=None, keep=6 * DAY))
    view = tracking.view("a")
    assert view is not None
    assert view.expires_at is None
    ends = []
    for job_id in "abc":
        tracking.run_next(1)
        view = tracking.view(job_id)
        assert view is not None
        assert view.expires_at is not None
        assert view.finished_at is not None
        ends.append(view.expires_at - view.finished_at)
    assert ends == [DAY, 60.0, DAY]
    tracking.tidied("c")
    record = tracking.record("c")
    assert record is not None
    tracking.tracker.ended.files_expired([record])
    view = tracking.view("c")
    assert view is not None
    assert view.expires_at == record.finished_at + 6 * DAY if record.finished_at else None


async def test_a_job_and_its_songs_go_when_its_request_wants_it(tmp_path: Path) -> None:
    house = Housekeeping(tmp_path)
    spec = JobSpec(GenerateRequest(keep_seconds=100.0), seeds=(1,))
    kept = house.finish()
    short = house.finish(spec=spec)
    await house.sweep()
    assert len(house.files()) == 2
    house.clock.now += 99
    await house.sweep()
    assert house.state(short) is JobState.SUCCEEDED
    house.clock.now += 2
    await house.sweep()
    assert house.state(short) is None
    assert await house.journal.get(short) is None
    assert house.files() == [f"{kept}/2/0.wav"]
    assert house.tracker.stats().jobs["succeeded"] == 1


async def test_a_kept_job_outlives_the_server_s_own_retention_in_no_way(tmp_path: Path) -> None:
    house = Housekeeping(tmp_path)
    spec = JobSpec(GenerateRequest(keep_seconds=30 * DAY), seeds=(1,))
    job_id = house.finish(spec=spec)
    house.clock.now += DAY + 1
    await house.sweep()
    assert house.files() == []
    house.clock.now += 6 * DAY
    await house.sweep()
    assert house.state(job_id) is None
