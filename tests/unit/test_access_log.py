"""Serve's log has a line for each request, except for polls and probes that succeeded."""

import logging
from collections.abc import Iterator

import pytest
from ray.serve._private.logging_utils import access_log_msg

from serve_app.access_log import SERVE_LOGGER, is_logged


def record(method: str, route: str, status: str) -> logging.LogRecord:
    """A record of a request, in Serve's own words."""
    message = access_log_msg(method=method, route=route, status=status, latency_ms=6.25)
    entry = logging.LogRecord(SERVE_LOGGER, logging.INFO, "", 0, message, (), None)
    entry.serve_access_log = True
    return entry


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """Let the level be INFO, as by default, until the test changes it."""
    logger = logging.getLogger(SERVE_LOGGER)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("route", ["/v1/jobs/{job_id}", "/music/v1/jobs/{job_id}", "/health", "/ready"])
def test_answered_polls_and_probes_are_left_out(route: str) -> None:
    assert not is_logged(record("GET", route, "200"))


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [
        ("GET", "/v1/jobs/{job_id}", "404"),
        ("GET", "/v1/jobs/{job_id}", "500"),
        ("DELETE", "/v1/jobs/{job_id}", "200"),
        ("GET", "/v1/jobs", "200"),
        ("GET", "/v1/jobs/{job_id}/events", "200"),
        ("GET", "/ready", "503"),
        ("POST", "/v1/music/generate", "200"),
    ],
)
def test_everything_else_is_logged(method: str, route: str, status: str) -> None:
    assert is_logged(record(method, route, status))


def test_other_records_are_logged_whatever_they_say() -> None:
    entry = record("GET", "/health", "200")
    entry.serve_access_log = False
    assert is_logged(entry)


def test_polls_are_logged_where_the_operator_wants_all() -> None:
    logging.getLogger(SERVE_LOGGER).setLevel(logging.DEBUG)
    assert is_logged(record("GET", "/v1/jobs/{job_id}", "200"))
