"""Pytest plugin that prints the minutes of each suite. With REQUIRE_ALL=1 a skipped test fails."""

import os
from collections import Counter
from collections.abc import Generator

import pytest

_seconds: Counter[str] = Counter()
_tests: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL is set and this test was skipped: {report.longrepr}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _, suite, *_ = report.nodeid.split("/")
    _seconds[suite] += report.duration
    _tests[suite] += report.when == "call"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("minutes per suite, of all workers together")
    for suite, seconds in _seconds.items():
        terminalreporter.line(f"{suite:<12} {seconds / 60:6.2f} min  {_tests[suite]:5d} tests")
