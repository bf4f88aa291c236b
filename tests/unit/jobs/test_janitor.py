"""Deletion by age. Time is simulated; files and journal are real."""

import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.common.errors import StorageError
from serve_app.jobs.housekeeping.janitor import ABANDONED_SECONDS, SCAN_SECONDS, known_already
from serve_app.jobs.model import JobState
from tests.housekeeping import DAY, SONG_BYTES, Housekeeping
from tests.job_tracking import Clock
from tests.server_logs import tracebacks_in


@pytest.fixture
def house(tmp_path: Path) -> Housekeeping:
    return Housekeeping(tmp_path)


async def test_of_a_job_that_succeeded_only_the_songs_stay(house: Housekeeping) -> None:
    job_id = house.finish()
    assert len(house.files()) == 4
    await house.sweep()
    assert house.files() == [f"{job_id}/2/0.wav"]
    assert house.tracker.ended.stored_bytes == SONG_BYTES
    assert not (house.folder / job_id / "1").exists()


async def test_of_a_job_that_failed_nothing_stays_but_its_record(house: Housekeeping) -> None:
    job_id = house.submit()
    house.tracker.claim("token")
    house.tracker.fail(job_id, "token", "No.", retryable=False)
    await house.sweep()
    assert house.files() == []
    assert not (house.folder / job_id).exists()
    assert house.state(job_id) is JobState.FAILED
    assert house.tracker.ended.stored_bytes == 0


async def test_the_files_of_a_cancelled_job_stay_until_its_runner_has_left(house: Housekeeping) -> None:
    job_id = house.submit()
    house.tracker.claim("token")
    house.tracker.cancel(job_id)
    await house.sweep()
    assert house.files() == [f"{job_id}/source"]
    house.write(house.storage.result_uri(job_id, 1, 0, "wav"), SONG_BYTES)
    house.tracker.runner_stopped(job_id)
    await house.sweep()
    assert house.files() == []


async def test_nothing_of_a_job_that_goes_on_is_touched(house: Housekeeping) -> None:
    house.submit()
    house.submit()
    house.tracker.claim("token")
    before = house.files()
    await house.sweep()
    assert house.files() == before


async def test_songs_expire_before_records(house: Housekeeping) -> None:
    job_id = house.finish()
    await house.sweep()
    house.clock.now += DAY + 1
    await house.sweep()
    assert house.files() == []
    assert house.tracker.ended.stored_bytes == 0
    assert house.state(job_id) is JobState.SUCCEEDED
    house.clock.now += 6 * DAY
    await house.sweep()
    assert house.state(job_id) is None
    assert not (house.folder / job_id).exists()
    assert sum(house.tracker.stats().jobs.values()) == 0


async def test_the_oldest_songs_go_early_where_all_take_too_much(tmp_path: Path) -> None:
    house = Housekeeping(tmp_path, max_bytes=3 * SONG_BYTES)
    job_ids = []
    for _ in range(5):
        job_ids.append(house.finish())
        house.clock.now += 60
    await house.sweep()
    await house.sweep()
    assert house.files() == sorted(f"{job_id}/2/0.wav" for job_id in job_ids[2:])
    assert house.tracker.ended.stored_bytes == 3 * SONG_BYTES


async def test_a_sweep_that_was_cut_off_is_finished_by_the_next(house: Housekeeping) -> None:
    job_id = house.finish()
    await house.journal.flushed()
    # The files are deleted, but the tracker ended before it was told.
    house.storage.delete_all_but(job_id, ())
    house.restart()
    await house.sweep()
    house.clock.now += DAY + 1
    house.restart()
    await house.sweep()
    house.clock.now += 7 * DAY
    await house.sweep()
    assert house.state(job_id) is None


async def test_folders_of_requests_that_never_entered_the_queue_go_after_an_hour(house: Housekeeping) -> None:
    kept = house.submit()
    lost = house.new_id()
    house.write(house.storage.recording_uri(lost, "source"), 500)
    (house.folder / "a-users-own-folder").mkdir()
    (house.folder / "a-users-own-folder" / "notes").write_text("mine")
    await house.sweep()
    assert (house.folder / lost).exists()
    house.clock.now += ABANDONED_SECONDS + SCAN_SECONDS
    await house.sweep()
    assert house.files() == sorted(["a-users-own-folder/notes", f"{kept}/source"])


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, as it stands in the server's log."""
    written = io.StringIO()
    handler, logger = logging.StreamHandler(written), logging.getLogger("ray.serve")
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)


async def test_a_file_that_cannot_be_deleted_stops_no_other_and_is_logged_in_a_line(
    house: Housekeeping, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    stuck, other = house.finish(), house.finish()
    delete_job = house.storage.delete_job

    def failing(job_id: str) -> None:
        if job_id == stuck:
            raise PermissionError(job_id)
        delete_job(job_id)

    await house.sweep()
    monkeypatch.setattr(house.storage, "delete_job", failing)
    house.clock.now += DAY + 1
    await house.sweep()
    assert house.files() == [f"{stuck}/2/0.wav"]
    (line,) = (line for line in log.getvalue().splitlines() if "did not delete" in line)
    assert stuck in line
    assert tracebacks_in(log.getvalue()) == ""
    monkeypatch.undo()
    await house.sweep()
    assert house.files() == []
    assert house.state(other) is JobState.SUCCEEDED


async def test_a_sweep_leaves_the_event_loop_to_others(house: Housekeeping) -> None:
    for _ in range(100):
        house.finish()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await house.sweep()
    ticking.cancel()
    assert ticks > 100


async def test_songs_of_after_a_step_of_the_clock_go_early_where_all_take_too_much(tmp_path: Path) -> None:
    house = Housekeeping(tmp_path, max_bytes=3 * SONG_BYTES)
    steady = Clock()
    house.steady = steady
    house.restart()
    before = house.finish()
    await house.sweep()
    house.clock.now += 8 * DAY
    after = []
    for _ in range(4):
        after.append(house.finish())
        house.clock.now += 60
        steady.now += 60
    await house.sweep()
    await house.sweep()
    assert house.files() == sorted(f"{job_id}/2/0.wav" for job_id in after[1:])
    assert house.state(before) is JobState.SUCCEEDED


async def test_a_full_storage_is_freed_although_nobody_can_sign_in(
    house: Housekeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = house.finish()

    def full(_store: str, _note: bytes) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(house.storage, "sign_in", full)
    await house.sweep()
    assert house.files() == [f"{job_id}/2/0.wav"]
    house.clock.now += DAY + 1
    await house.sweep()
    assert house.files() == []


async def test_the_recordings_of_a_job_stay_until_its_end_is_durable(house: Housekeeping) -> None:
    """After a crash before that moment, the job runs again and needs its recordings."""
    job_id = house.finish()
    files = house.files()
    await house.janitor._tidy(house.tracker, house.journal, known_already)
    assert house.files() == files
    await house.journal.flushed()
    await house.janitor._tidy(house.tracker, house.journal, known_already)
    assert house.files() == [f"{job_id}/2/0.wav"]
