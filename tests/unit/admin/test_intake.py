"""`drain`, `pause` and `resume`."""

import json
import threading
import time
from typing import Any

import pytest

from serve_app.admin import main
from serve_app.jobs.mode import Mode
from serve_app.jobs.tracker_api import TrackerApi
from tests.unit.admin.conftest import LocalTracker


def test_drain_and_resume_say_what_is_left(tracker: LocalTracker, capsys: pytest.CaptureFixture[str]) -> None:
    tracker.submit("a")
    tracker.ask(TrackerApi.claim, "token", 0)
    tracker.submit("b")
    assert main(["drain"]) == 0
    assert capsys.readouterr().out == "draining: 1 waiting, 1 running\n"
    assert tracker.ask(TrackerApi.stats).mode == "draining"
    assert main(["resume"]) == 0
    assert capsys.readouterr().out == "open: 1 waiting, 1 running\n"


def test_json(tracker: LocalTracker, capsys: pytest.CaptureFixture[str]) -> None:
    tracker.submit("a")
    assert main(["pause", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["mode"], shown["jobs"]["queued"]) == ("paused", 1)


def test_waiting_for_an_empty_server_shows_how_it_goes(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    for job_id in "ab":
        tracker.submit(job_id)

    def work() -> None:
        while tracker.ask(TrackerApi.stats).mode is not Mode.DRAINING:
            time.sleep(0.01)
        for job_id in "ab":
            time.sleep(0.1)
            tracker.ask(TrackerApi.claim, job_id, 1)
            time.sleep(0.1)
            tracker.ask(TrackerApi.finish, job_id, job_id, {"timings": {}}, (), 0)

    worker = threading.Thread(target=work)
    worker.start()
    assert main(["drain", "--wait", "--timeout", "20s"]) == 0
    worker.join()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "draining: 2 waiting, 0 running"
    assert "draining: 1 waiting, 1 running" in lines
    assert lines[-1] == "draining: 0 waiting, 0 running"


def test_a_paused_server_is_still_when_nothing_runs(tracker: LocalTracker) -> None:
    tracker.submit("a")
    assert main(["pause", "--wait"]) == 0


def test_a_wait_that_takes_too_long_fails_and_changes_nothing(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker.submit("a")
    assert main(["drain", "--wait", "--timeout", "0.1s"]) == 1
    assert "not empty in time: 1 waiting, 0 running; the server stays draining" in capsys.readouterr().err
    assert tracker.ask(TrackerApi.stats).mode == "draining"


def test_a_wait_ends_when_somebody_else_resumes(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.submit("a")
    ask = tracker.ask

    def ask_after_another(method: Any, *arguments: object) -> object:
        if method is TrackerApi.stats:
            ask(TrackerApi.set_mode, Mode.OPEN)
        return ask(method, *arguments)

    monkeypatch.setattr(tracker, "ask", ask_after_another)
    assert main(["drain", "--wait"]) == 1
    assert "somebody has set the server to open" in capsys.readouterr().err
    monkeypatch.undo()
