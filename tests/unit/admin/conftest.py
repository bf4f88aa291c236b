"""The real job tracker behind the commands, on a thread instead of a process of Ray."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from serve_app.admin import intake, jobs, keys, leftovers, purge, usage
from serve_app.admin.running_tracker import Server
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.model import Client, NewJob
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording
from tests.job_tracking import WORK


class LocalTracker:
    """`RunningTracker` without Ray."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.settings = settings
        self.actor = DurableTracker(settings)

    def ask(self, method: Callable[..., Any], *arguments: Any) -> Any:
        called = getattr(self.actor, method.__name__)(*arguments)
        return asyncio.run_coroutine_threadsafe(called, self._loop).result(20)

    def close(self) -> None:
        self.ask(self.actor.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def submit(self, job_id: str, client: str = "", recording: bool = False) -> str:
        source = Recording("memory://source", 10.0) if recording else None
        spec = JobSpec(GenerateRequest(caption="a secret wish"), seeds=(1,), source=source)
        self.ask(TrackerApi.submit, NewJob(job_id, spec, WORK, Client(client)))
        return job_id

    def run(self, job_id: str, recording: bool = False, **ended: Any) -> str:
        """Run a job that succeeds or, with `error`, fails. Return its id."""
        self.submit(job_id, recording=recording)
        self.ask(TrackerApi.claim, f"token of {job_id}", 0)
        if "error" in ended:
            self.ask(TrackerApi.fail, job_id, f"token of {job_id}", ended["error"], False)
        else:
            self.ask(
                TrackerApi.finish, job_id, f"token of {job_id}", {"timings": {}}, ("memory://song",), 1500
            )
        return job_id


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTracker]:
    # Serve's own handler writes to standard error, where commands report what they could not do.
    monkeypatch.setattr(logging.getLogger("ray.serve"), "handlers", [])
    settings = Settings(
        jobs={"store": str(tmp_path / "jobs.sqlite3")},
        storage={"uri": str(tmp_path / "output"), "sweep_seconds": 0.02},
    )
    tracker = LocalTracker(settings)

    def running_tracker(_server: Server) -> LocalTracker:
        return tracker

    for group in (intake, jobs, keys, leftovers, purge, usage):
        monkeypatch.setattr(group, "running_tracker", running_tracker)
    for group in (intake, jobs):
        monkeypatch.setattr(group, "LOOK_SECONDS", 0.02)
    yield tracker
    tracker.close()
