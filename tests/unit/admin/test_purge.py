"""`purge`."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from serve_app.admin import main
from serve_app.admin.errors import CommandError
from serve_app.jobs.housekeeping.purge import Purge, Purged
from serve_app.jobs.tracker_api import TrackerApi
from tests.unit.admin.conftest import LocalTracker


@pytest.fixture
def ended(tracker: LocalTracker) -> LocalTracker:
    """Leave two songs and a failure, all tidied, and a job that waits."""
    for job_id in ("song-a", "song-b"):
        tracker.run(job_id)
    tracker.run("failed", error="It failed.")
    tracker.submit("waiting")
    deadline = time.monotonic() + 10
    assert tracker.actor._opened is not None
    while tracker.actor._opened[0].ended.untidy():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return tracker


def states(tracker: LocalTracker) -> dict[str, int]:
    return {state: count for state, count in tracker.ask(TrackerApi.stats).jobs.items() if count}


def test_nothing_is_deleted_without_yes(ended: LocalTracker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["purge", "--all", "--dry-run"]) == 0
    assert capsys.readouterr().out == "3 jobs would be deleted, 3.0 kB of songs\n"
    assert states(ended) == {"queued": 1, "succeeded": 2, "failed": 1}


def test_ended_jobs_are_deleted(ended: LocalTracker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["purge", "--state", "failed", "--yes"]) == 0
    assert capsys.readouterr().out == "1 jobs have been deleted, 0 B of songs\n"
    assert main(["purge", "--older-than", "1h", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"dry_run": False, "job_ids": [], "bytes": 0, "kept": {}}
    assert main(["purge", "--all", "--yes"]) == 0
    assert capsys.readouterr().out == "2 jobs have been deleted, 3.0 kB of songs\n"
    assert states(ended) == {"queued": 1}


def test_named_jobs_are_deleted_or_it_is_said_why_not(
    ended: LocalTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["purge", "song-a", "waiting", "--yes"]) == 1
    told = capsys.readouterr()
    assert told.err == "waiting: it has not ended: cancel it first\n"
    assert told.out == "1 jobs have been deleted, 1.5 kB of songs\n"
    assert ended.ask(TrackerApi.view, "song-a") is None


@pytest.mark.parametrize(
    "selection", [[], ["song-a", "--all"], ["song-a", "--client", "x"], ["--all", "--state", "failed"]]
)
def test_what_goes_is_said_in_one_way(
    ended: LocalTracker, selection: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["purge", *selection, "--yes"]) == 2
    assert "name jobs, or conditions, or --all" in capsys.readouterr().err
    assert states(ended) == {"queued": 1, "succeeded": 2, "failed": 1}


def test_what_was_deleted_before_the_tracker_went_away_is_told(
    ended: LocalTracker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, done = ended.ask, []

    def ask_once(method: Any, wanted: Purge, dry_run: bool) -> Purged:
        if done:
            raise CommandError("the job tracker does not answer")
        done.append(replace(ask(method, wanted, dry_run), next_below=1))
        return done[0]

    monkeypatch.setattr(ended, "ask", ask_once)
    assert main(["purge", "--all", "--yes"]) == 1
    told = capsys.readouterr()
    assert told.out == "3 jobs have been deleted, 3.0 kB of songs\n"
    assert "does not answer" in told.err
    monkeypatch.undo()
