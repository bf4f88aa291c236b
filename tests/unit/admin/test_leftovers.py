"""`leftovers` shows and deletes the files of lost stores, and leaves those of other stores alone."""

import io
import json
import uuid
from typing import Any

import pytest

from serve_app.admin import main
from serve_app.jobs.housekeeping.identity import new_job_id, store_name
from serve_app.jobs.housekeeping.leftovers import EARLIER_RELEASE
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.storage import AudioStorage
from tests.unit.admin.conftest import LocalTracker

LOST, NEIGHBOUR = "0" * 12, "1" * 12


@pytest.fixture
def storage(tracker: LocalTracker) -> AudioStorage:
    """Fill a storage with folders of a lost store, a neighbour and an earlier release, and two of our own."""
    storage = AudioStorage(tracker.settings.storage.uri)
    mine = store_name(tracker.ask(TrackerApi.secret))
    tracker.submit(new_job_id(mine))
    waiting = tracker.ask(TrackerApi.waiting, None, 1)[0].job_id
    for job_id in (waiting, *map(new_job_id, (mine, LOST, NEIGHBOUR)), str(uuid.uuid4())):
        storage.write(storage.recording_uri(job_id, "source"), io.BytesIO(b"song"))
    storage.sign_in(NEIGHBOUR, b"")
    return storage


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["leftovers", "--json", *arguments]) == 0
    return {row["store"]: row["folders"] for row in json.loads(capsys.readouterr().out)}


def test_they_are_shown_by_the_store_that_they_belong_to(
    tracker: LocalTracker, storage: AudioStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert storage.job_ids()
    mine = store_name(tracker.ask(TrackerApi.secret))
    assert listed(capsys) == {mine: 1, NEIGHBOUR: 1, LOST: 1, EARLIER_RELEASE: 1}
    assert listed(capsys, LOST) == {LOST: 1}
    assert main(["leftovers"]) == 0
    assert f"{LOST}           1  of a store that is not in use" in capsys.readouterr().out


def test_only_those_of_a_store_that_is_not_in_use_are_deleted(
    tracker: LocalTracker, storage: AudioStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = store_name(tracker.ask(TrackerApi.secret))
    for store in (mine, NEIGHBOUR, "nobody"):
        assert main(["leftovers", store, "--delete"]) == 1
        assert "not in use" in capsys.readouterr().err
    assert len(storage.job_ids()) == 5
    for store in (LOST, EARLIER_RELEASE):
        assert main(["leftovers", store, "--delete"]) == 0
        assert capsys.readouterr().out == "1 folders have been deleted\n"
    assert listed(capsys) == {mine: 1, NEIGHBOUR: 1}
    assert len(storage.job_ids()) == 3
