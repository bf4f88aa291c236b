"""What is deleted when: time is a fake, files and journal are real."""

import asyncio
import io
import os
import uuid
from pathlib import Path

import pytest

from configs.settings import JobSettings, StorageSettings
from serve_app.api.schemas import GenerateRequest
from serve_app.jobs.janitor import ABANDONED_SECONDS, SCAN_SECONDS, Janitor
from serve_app.jobs.journal import Journal
from serve_app.jobs.model import JobSpec, JobState, NewJob
from serve_app.jobs.store import MemoryJobStore
from serve_app.jobs.tracker import JobTracker
from serve_app.storage import AudioStorage
from tests.job_tracking import WORK, Clock

DAY = 24 * 3600.0
SONG_BYTES = 1000
SPEC = JobSpec(GenerateRequest(), seeds=(1,))


class Housekeeping:
    """One tracker, its storage in `folder`, and the janitor of both."""

    def __init__(self, folder: Path, max_bytes: int = 10**9) -> None:
        self.folder = folder
        self.clock = Clock()
        self.storage = AudioStorage(str(folder))
        self.journal = Journal(MemoryJobStore())
        self.settings = StorageSettings(
            uri=str(folder), result_seconds=DAY, record_seconds=7 * DAY, max_bytes=max_bytes
        )
        self.restart()

    def restart(self) -> None:
        self.tracker = JobTracker(JobSettings(), self.journal, self.clock)
        self.janitor = Janitor(self.storage, self.settings, self.clock)

    async def sweep(self) -> None:
        await self.journal.flushed()
        await self.janitor.sweep(self.tracker, self.journal)
        await self.journal.flushed()

    def submit(self) -> str:
        """A job that came with a recording."""
        job_id = str(uuid.uuid4())
        self.write(self.storage.recording_uri(job_id, "source"), 500)
        self.tracker.submit(NewJob(job_id, SPEC, WORK, uploaded_bytes=500))
        return job_id

    def finish(self) -> str:
        """A job that succeeded in its second attempt, after the first had written, too."""
        job_id = self.submit()
        claim = self.tracker.claim("first")
        assert claim is not None
        assert claim.job.job_id == job_id
        self.write(self.storage.result_uri(job_id, 1, 0, "wav"), SONG_BYTES)
        assert self.tracker.fail(job_id, "first", "Lost.", retryable=True)
        self.tracker.claim("second")
        song = self.storage.result_uri(job_id, 2, 0, "wav")
        self.write(song, SONG_BYTES)
        self.write(self.storage.result_uri(job_id, 2, 1, "wav"), SONG_BYTES)
        assert self.tracker.finish(job_id, "second", {"timings": {}}, (song,), SONG_BYTES)
        return job_id

    def write(self, uri: str, size: int) -> None:
        self.storage.write(uri, io.BytesIO(bytes(size)))

    def files(self) -> list[str]:
        """All that is stored, relative to its folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def state(self, job_id: str) -> JobState | None:
        view = self.tracker.view(job_id)
        return view and view.state


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
    assert list(house.folder.iterdir()) == []
    assert house.state(job_id) is JobState.FAILED
    assert house.tracker.ended.stored_bytes == 0


async def test_the_files_of_a_cancelled_job_stay_until_its_runner_has_left(house: Housekeeping) -> None:
    job_id = house.submit()
    house.tracker.claim("token")
    house.tracker.cancel(job_id)
    await house.sweep()
    assert house.files() == [f"{job_id}/source"]
    house.write(house.storage.result_uri(job_id, 1, 0, "wav"), SONG_BYTES)
    house.tracker.left(job_id)
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
    # Deleted, but the tracker died before it heard of it.
    house.storage.delete_all_but(job_id, ())
    house.restart()
    await house.sweep()
    house.clock.now += DAY + 1
    house.restart()
    await house.sweep()
    house.clock.now += 7 * DAY
    await house.sweep()
    assert house.state(job_id) is None


async def test_folders_of_requests_that_never_entered_the_line_go_after_an_hour(house: Housekeeping) -> None:
    kept = house.submit()
    lost = str(uuid.uuid4())
    house.write(house.storage.recording_uri(lost, "source"), 500)
    (house.folder / "a-users-own-folder").mkdir()
    (house.folder / "a-users-own-folder" / "notes").write_text("mine")
    for path in house.folder.rglob("*"):
        os.utime(path, (house.clock.now, house.clock.now))
    await house.sweep()
    assert (house.folder / lost).exists()
    house.clock.now += ABANDONED_SECONDS + SCAN_SECONDS
    await house.sweep()
    assert house.files() == sorted(["a-users-own-folder/notes", f"{kept}/source"])


async def test_a_file_that_cannot_be_deleted_stops_no_other(
    house: Housekeeping, monkeypatch: pytest.MonkeyPatch
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
