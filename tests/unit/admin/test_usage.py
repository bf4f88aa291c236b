"""`usage`: the same figures as those of the client, for the operator."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from serve_app.admin import main
from serve_app.admin.usage import COLUMNS
from serve_app.jobs.tracker_api import TrackerApi
from tests.unit.admin.conftest import LocalTracker


def test_days_and_their_sum_are_shown(tracker: LocalTracker, capsys: pytest.CaptureFixture[str]) -> None:
    tracker.run("done")
    tracker.run("lost", error="It broke.")
    tracker.submit("given-up", "ann")
    tracker.ask(TrackerApi.cancel, "given-up")
    today = datetime.now(UTC).date().isoformat()
    assert main(["usage", ""]) == 0
    heads, day, total = capsys.readouterr().out.splitlines()
    assert heads.split() == " ".join(COLUMNS).split()
    assert day.split()[:4] == [today, "1", "1", "0"]
    assert total.split()[:4] == ["total", "1", "1", "0"]
    assert main(["usage", "ann", "--json"]) == 0
    (of_ann,) = json.loads(capsys.readouterr().out).values()
    assert (of_ann["succeeded"], of_ann["cancelled"]) == (0, 1)


def test_only_the_days_that_were_asked_for_count(
    tracker: LocalTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker.run("done")
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    assert main(["usage", "", "--to", yesterday]) == 0
    _, total = capsys.readouterr().out.splitlines()
    assert total.split()[:4] == ["total", "0", "0", "0"]
    assert main(["usage", "", "--to", yesterday, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "tomorrow"], "'tomorrow' is no day such as 2026-12-31"),
        (["--from", "2026-12-02", "--to", "2026-12-01"], "--from is after --to"),
    ],
)
def test_other_days_are_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["usage", "ann", *arguments]) == 2
    assert sentence in capsys.readouterr().err
