"""The runners' own thread: a busy request loop costs no lease."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from configs.settings import Settings
from serve_app.execution import runner
from serve_app.execution.runner import Runners
from serve_app.execution.runner_thread import RunnerThread
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.model import JobState, JobView, NewJob
from serve_app.jobs.tracker_api import client_over
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage
from tests.job_tracking import WORK
from tests.runner_server import GIVEN, Models

HEARTBEATS = 20


class TrackerElsewhere:
    """The real tracker on a loop of its own, as in its own process."""

    def __init__(self, settings: Settings, portal: BlockingPortal) -> None:
        self._portal = portal
        self.actor = portal.call(DurableTracker, settings)
        self.client = client_over(self._call)
        self.heartbeats = 0

    def ask(self, method: str, *arguments: Any) -> Any:
        return self._portal.call(getattr(self.actor, method), *arguments)

    def wait_for_heartbeats(self, count: int) -> None:
        """Wait like `eventually`, without giving control to the loop of the test."""
        wanted, deadline = self.heartbeats + count, time.monotonic() + 60
        while self.heartbeats < wanted:
            assert time.monotonic() < deadline, "no lease is renewed"
            time.sleep(0.01)

    async def _call(self, method: str, *arguments: Any) -> Any:
        self.heartbeats += method == "heartbeat"
        asked = self._portal.start_task_soon(getattr(self.actor, method), *arguments)
        return await asyncio.wrap_future(asked)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(runner, "CLAIM_WAIT_SECONDS", 0.05)
    jobs = {"lease_seconds": 5.0, "heartbeat_seconds": 0.02, "runners": 1, "store": "memory"}
    return Settings(jobs=jobs, storage={"uri": str(tmp_path)})


@pytest.fixture
def tracker(settings: Settings) -> Iterator[TrackerElsewhere]:
    with start_blocking_portal() as portal:
        yield (elsewhere := TrackerElsewhere(settings, portal))
        portal.call(elsewhere.actor.close)


def submitted(tracker: TrackerElsewhere) -> str:
    tracker.ask("submit", NewJob("job", JobSpec(GenerateRequest(**GIVEN), seeds=(1,)), WORK))
    return "job"


def eventually(tracker: TrackerElsewhere, job_id: str, state: JobState) -> JobView:
    """Wait without giving control to the loop of the test, which a busy request keeps as well."""
    for _ in range(1000):
        view: JobView = tracker.ask("view", job_id)
        if view.state is state:
            return view
        time.sleep(0.01)
    raise AssertionError(f"the job is not {state}: {view}")


async def test_leases_are_renewed_and_jobs_finished_while_the_loop_of_the_requests_is_busy(
    settings: Settings, tracker: TrackerElsewhere
) -> None:
    models = Models(AudioStorage(settings.storage.uri), hangs_in="denoising")
    runners = Runners(tracker.client, models, models.storage, settings)
    thread = RunnerThread(runners)
    job_id = submitted(tracker)
    eventually(tracker, job_id, JobState.RUNNING)
    tracker.wait_for_heartbeats(HEARTBEATS)
    models.hangs_in = ""
    thread._portal.call(models.go_on.set)
    assert eventually(tracker, job_id, JobState.SUCCEEDED).attempt == 1
    await thread.stop()


async def test_a_stopped_thread_has_handed_its_job_back_and_is_gone(
    settings: Settings, tracker: TrackerElsewhere
) -> None:
    models = Models(AudioStorage(settings.storage.uri), hangs_in="denoising")
    thread = RunnerThread(Runners(tracker.client, models, models.storage, settings))
    job_id = submitted(tracker)
    eventually(tracker, job_id, JobState.RUNNING)
    await thread.stop()
    view = eventually(tracker, job_id, JobState.QUEUED)
    assert (view.attempt, models.stopped) == (0, ["denoising"])
    with pytest.raises(RuntimeError, match="not running"):
        thread._portal.call(print)


async def test_a_runner_loop_that_ended_is_noticed(settings: Settings, tracker: TrackerElsewhere) -> None:
    models = Models(AudioStorage(settings.storage.uri))
    runners = Runners(tracker.client, models, models.storage, settings)
    thread = RunnerThread(runners)
    thread.check()
    (loop,) = runners._loops
    thread._portal.call(loop.cancel)
    for _ in range(1000):
        if loop.done():
            break
        await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError, match="a runner loop ended"):
        thread.check()
    await thread.stop()
