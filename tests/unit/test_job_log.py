"""Log lines about a job: they contain its id, are machine-readable, and hold no text of the user."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from ray._common.formatters import JSONFormatter

from deployments.common.errors import EngineError, StorageError, UntrainedError
from deployments.common.job_log import expected_failures_need_no_traceback, log_event, logger
from serve_app.jobs.job_log import JobLog
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.tracker import JobTracker
from tests.job_tracking import Tracking


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[logging.LogRecord]]:
    handler, level = Kept(), logger.level
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    logger.setLevel(logging.INFO)
    yield handler.records
    logger.setLevel(level)


class Logged(Tracking):
    """A tracker that logs."""

    def start(self) -> None:
        self.journal = Journal(self.store)
        self.tracker = JobTracker(self.settings, self.journal, self.clock, JobLog())


def said(records: list[logging.LogRecord], *fields: str) -> list[dict[str, Any]]:
    """Return the fields of each record that Serve's JSON log contains."""
    lines = [json.loads(JSONFormatter().format(record)) for record in records]
    return [{name: line.get(name) for name in ("event", *fields)} for line in lines]


def test_an_event_has_the_same_keys_as_json_and_can_be_read_as_text(
    records: list[logging.LogRecord],
) -> None:
    log_event("stage_done", "a-job", stage="planning", seconds=1.23456)
    (record,) = records
    line = json.loads(JSONFormatter().format(record))
    assert (
        line.items()
        >= {
            "music_job_id": "a-job",
            "event": "stage_done",
            "stage": "planning",
            "seconds": 1.235,
            "levelname": "INFO",
            "filename": "test_job_log.py",
        }.items()
    )
    assert line["message"] == "job a-job stage_done stage=planning seconds=1.235"


def test_the_way_of_a_job_through_the_tracker(records: list[logging.LogRecord]) -> None:
    tracking = Logged(lease_seconds=10.0)
    job_id = tracking.submit()
    tracking.clock.now += 2.0
    tracking.tracker.claim("first")
    tracking.clock.now += 11.0
    tracking.tracker.requeue_expired()
    tracking.tracker.claim("second")
    tracking.clock.now += 4.0
    tracking.tracker.finish(job_id, "second", {}, ("memory://song",), 1)
    assert said(records, "attempt", "waited_seconds", "outcome", "seconds") == [
        {"event": "claimed", "attempt": 1, "waited_seconds": 2.0, "outcome": None, "seconds": None},
        {"event": "attempt_ended", "attempt": 1, "waited_seconds": None, "outcome": "lost", "seconds": 11.0},
        {"event": "claimed", "attempt": 2, "waited_seconds": 0.0, "outcome": None, "seconds": None},
        {"event": "succeeded", "attempt": None, "waited_seconds": None, "outcome": None, "seconds": 17.0},
    ]
    (ended,) = said(records[-1:], "attempts", "run_seconds", "audio_seconds", "real_time_factor")
    assert ended == {
        "event": "succeeded",
        "attempts": 2,
        "run_seconds": 15.0,
        "audio_seconds": 10.0,
        "real_time_factor": 0.667,
    }
    assert {record.music_job_id for record in records} == {job_id}


@pytest.mark.parametrize(
    ("end", "event", "level"),
    [
        (lambda tracker, job_id: tracker.cancel(job_id), "cancelled", logging.INFO),
        (
            lambda tracker, job_id: tracker.fail(job_id, "token", "Too quiet.", False, "request"),
            "failed",
            logging.WARNING,
        ),
    ],
)
def test_other_ends(records: list[logging.LogRecord], end: Any, event: str, level: int) -> None:
    tracking = Logged()
    job_id = tracking.submit()
    tracking.tracker.claim("token")
    end(tracking.tracker, job_id)
    assert (said(records)[-1]["event"], records[-1].levelno) == (event, level)


@pytest.mark.parametrize(
    ("raised", "level", "says"),
    [
        (UntrainedError("not trained"), logging.INFO, "UntrainedError"),
        (StorageError("no disk"), logging.ERROR, "no disk"),
        (EngineError("words of a user"), logging.ERROR, "test_job_log.py"),
        (ZeroDivisionError("x"), logging.ERROR, "Traceback"),
    ],
)
def test_only_an_unexpected_failure_of_a_call_is_logged_with_a_traceback(
    records: list[logging.LogRecord], raised: Exception, level: int, says: str
) -> None:
    """Serve logs exceptions of deployments in this way."""
    expected_failures_need_no_traceback()
    try:
        raise raised
    except Exception:
        logger.exception("Request failed.")
    (record,) = records
    text = logging.Formatter().format(record)
    assert record.levelno == level
    assert says in text
    assert ("Traceback" in text) == isinstance(raised, ZeroDivisionError)
    assert "words of a user" not in text


def test_the_lines_of_the_tracker_name_the_request_that_made_the_job(
    records: list[logging.LogRecord],
) -> None:
    tracking = Logged()
    tracking.submit(request_id="r-1")
    tracking.run_next(1)
    tracking.submit()
    tracking.run_next(1)
    assert [line["request_id"] for line in said(records, "request_id")] == ["r-1", "r-1", None, None]
