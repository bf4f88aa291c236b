"""Tests of servers look for tracebacks in their logs."""

from serve_app.local_server import RAY_WAS_SLOW
from tests.server_logs import A_START, tracebacks_in

SLOW_START = f"{A_START}'a.yaml'.\nTraceback (most recent call last):\nException: {RAY_WAS_SLOW}\n"
BROKEN = "Traceback (most recent call last):\nValueError: no\n"


def test_a_traceback_is_found() -> None:
    assert "ValueError: no" in tracebacks_in(f"{A_START}'a.yaml'.\n{BROKEN}")
    assert tracebacks_in(f"{A_START}'a.yaml'.\nready\n") == ""


def test_a_start_that_ray_was_too_slow_for_does_not_count() -> None:
    assert tracebacks_in(f"{SLOW_START}{A_START}'a.yaml'.\nready\n") == ""
    assert "ValueError: no" in tracebacks_in(f"{SLOW_START}{A_START}'a.yaml'.\n{BROKEN}")
