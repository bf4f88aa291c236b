"""Pytest plugin: minutes per suite, and REQUIRE_ALL=1, under which a skipped test is a failed one."""

import os
from collections import defaultdict
from pathlib import Path

import pytest

_seconds: dict[str, float] = defaultdict(float)
_tests: dict[str, int] = defaultdict(int)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    suite = item.path.relative_to(Path(__file__).parent).parts[0]
    _seconds[suite] += report.duration
    _tests[suite] += report.when == "call"
    if report.skipped and os.environ.get("REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL is set and this test was skipped: {report.longrepr}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("minutes per suite")
    for suite, seconds in _seconds.items():
        terminalreporter.line(f"{suite:<12} {seconds / 60:6.2f} min  {_tests[suite]:5d} tests")
