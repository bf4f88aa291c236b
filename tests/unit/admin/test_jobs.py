"""`list`, `cancel`, `requeue` and `unreadable`."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serve_app.admin import main
from serve_app.admin.errors import CommandError
from serve_app.jobs.tracker_api import TrackerApi
from tests.unit.admin.conftest import LocalTracker


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Return the printed rows without the headings."""
    return [line.split() for line in capsys.readouterr().out.splitlines()[1:]]


def test_jobs_are_listed_without_what_users_asked_for(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker.submit("job-a", "ann")
    tracker.ask(TrackerApi.claim, "token", 0)
    tracker.ask(TrackerApi.heartbeat, "job-a", "token", "denoising", 0.42)
    tracker.submit("job-b")
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split() == [
        *("JOB", "STATE", "STAGE", "PROGRESS", "POSITION", "ATTEMPT", "AGE", "CLIENT")
    ]
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["job-b", "queued", "queued", "0%", "1", "0", "0s", "-"],
        ["job-a", "running", "denoising", "42%", "-", "1", "0s", "ann"],
    ]
    assert main(["list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert json.loads(listed)[1]["progress"] == 0.42
    assert "wish" not in shown + listed


def test_what_is_listed_can_be_narrowed(tracker: LocalTracker, capsys: pytest.CaptureFixture[str]) -> None:
    tracker.run("done")
    for job_id, client in (("a", "ann"), ("b", "bob"), ("c", "ann")):
        tracker.submit(job_id, client)

    def listed(*arguments: str) -> list[str]:
        assert main(["list", *arguments]) == 0
        return [row[0] for row in rows(capsys)]

    assert listed() == ["c", "b", "a", "done"]
    assert listed("--limit", "2") == ["c", "b"]
    assert listed("--state", "succeeded") == ["done"]
    assert listed("--state", "queued") == ["a", "b", "c"]
    assert listed("--state", "queued", "--client", "ann", "--limit", "1") == ["a"]
    assert listed("--client", "ann") == ["c", "a"]
    assert listed("--client", "nobody") == []


def test_each_job_is_cancelled_or_it_is_said_why_not(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    done, waiting = tracker.run("done"), tracker.submit("waiting")
    assert main(["cancel", waiting]) == 0
    assert capsys.readouterr().out == "waiting: cancelled\n"
    assert main(["cancel", waiting, done, "never"]) == 1
    told = capsys.readouterr()
    assert told.out == "waiting: cancelled\n"
    assert told.err == "done: it has already succeeded\nnever: there is no such job\n"
    assert main(["cancel", done, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [{"job_id": "done", "problem": "it has already succeeded"}]


def test_a_failed_job_runs_again_once_its_files_are_gone(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker.run("failed", error="It failed.")
    assert main(["requeue", "failed"]) == 0
    assert capsys.readouterr().out == "failed: queued\n"
    assert tracker.ask(TrackerApi.view, "failed").state == "queued"


def test_what_cannot_run_again_is_said(tracker: LocalTracker, capsys: pytest.CaptureFixture[str]) -> None:
    tracker.run("done")
    tracker.run("cover", recording=True, error="It failed.")
    tracker.submit("cancelled")
    tracker.ask(TrackerApi.cancel, "cancelled")
    assert main(["requeue", "done", "cover", "cancelled", "never"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "done: it has succeeded",
        "cover: its recordings were deleted when it ended: it must be submitted again",
        "cancelled: it was cancelled, and what it asked for is not kept: it must be submitted again",
        "never: there is no such job",
    ]


def test_a_requeue_does_not_wait_for_ever(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.jobs.ended.EndedJobs.untidy", lambda _self: [])
    tracker.run("failed", error="It failed.")
    assert main(["requeue", "failed", "--timeout", "0.1s"]) == 1
    assert "is still being deleted" in capsys.readouterr().err


def test_what_was_done_before_the_tracker_went_away_is_told(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.submit("first")
    ask = tracker.ask

    def ask_until_it_is_away(method: Any, *arguments: object) -> object:
        if arguments == ("second",):
            raise CommandError("the job tracker does not answer")
        return ask(method, *arguments)

    monkeypatch.setattr(tracker, "ask", ask_until_it_is_away)
    assert main(["cancel", "first", "second", "third"]) == 1
    told = capsys.readouterr()
    assert told.out == "first: cancelled\n"
    assert "does not answer" in told.err


def test_records_that_were_set_aside_are_shown_with_the_reason(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tracker.submit("damaged")
    assert main(["unreadable"]) == 0
    assert rows(capsys) == []
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as database, database:
        database.execute("UPDATE jobs SET record = '{' || record")
    # Reading a page of the store notes the damaged record. The next sweep then sets it aside.
    tracker.ask(TrackerApi.page, None, None, 10, 10)
    while not tracker.ask(TrackerApi.set_aside):
        time.sleep(0.01)
    assert main(["unreadable"]) == 0
    ((job_id, state, *reason),) = rows(capsys)
    assert (job_id, state) == ("damaged", "queued")
    assert "can't be read" in " ".join(reason)
    assert main(["unreadable", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["job_id"] == "damaged"
    assert "wish" not in str(told)
