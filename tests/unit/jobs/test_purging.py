"""Purging: nothing of a job remains, whatever state it was in, and whatever dies meanwhile."""

import asyncio
import io
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from configs.domain import Task
from configs.settings import PROJECT_ROOT, Settings
from deployments.common.errors import StorageError
from deployments.common.messages import Metadata
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.errors import RequeueError
from serve_app.jobs.housekeeping.identity import new_job_id, store_name
from serve_app.jobs.model import Callback, Checkpoint, Client, IdempotencyKey, Job, JobState, NewJob
from serve_app.jobs.storing.sqlite_store import SqliteJobStore
from serve_app.jobs.storing.store import StoreError
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec, Recording
from serve_app.storage import AudioStorage
from tests.housekeeping import DAY, SONG_BYTES, Housekeeping, deletion_under_way
from tests.job_records import a_job
from tests.job_tracking import WORK, Tracking
from tests.redis_server import RedisServer

SECRETS = (
    "a caption nobody may keep",
    "la la lyrics nobody may keep",
    "4711,4712,4713",
    "SONG-BYTES-SONG-BYTES",
)
"""The texts, codes and audio of the purged job, for which the search looks."""
CAPTION, LYRICS, CODES, SONG = SECRETS
OTHER = "a caption that stays"
PLAN = SongPlan(Task.TEXT2MUSIC, Metadata(), (10.0,), None, lm_answered=True)


def settings_for(folder: Path, store: str | None = None) -> Settings:
    return Settings(
        jobs={"store": store or str(folder / "jobs.sqlite3")},
        storage={"uri": str(folder / "output"), "sweep_seconds": 0.1},
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
async def tracker(settings: Settings) -> AsyncIterator[DurableTracker]:
    tracker = DurableTracker(settings)
    yield tracker
    await tracker.close()


async def submit(
    tracker: DurableTracker, settings: Settings, caption: str = CAPTION, callback: bool = False
) -> str:
    """Submit a job with a recording."""
    job_id = new_job_id(store_name(await tracker.secret()))
    request = GenerateRequest(
        caption=caption,
        lyrics=LYRICS * 100 if caption == CAPTION else "",
        callback_url="http://127.0.0.1:9/" if callback else None,
    )
    storage = AudioStorage(settings.storage.uri)
    uri = storage.recording_uri(job_id, "source")
    storage.write(uri, io.BytesIO(SONG.encode() * 100))
    codes = (tuple(map(int, CODES.split(","))) * 500,)
    spec = JobSpec(request, (1,), codes, Recording(uri, 10.0))
    await tracker.submit(
        NewJob(job_id, spec, WORK, Client("ann"), uploaded_bytes=10, idempotency=IdempotencyKey("k", "f"))
        if caption == CAPTION
        else NewJob(job_id, spec, WORK, Client("ann"))
    )
    return job_id


async def run(tracker: DurableTracker, settings: Settings, caption: str = CAPTION, end: bool = True) -> str:
    """Run the first job of the queue with a checkpoint, to its end if that is wanted; return its id."""
    claim = await tracker.claim("token", 0)
    assert claim is not None
    job_id = claim.job.job_id
    checkpoint = Checkpoint(PLAN, (tuple(map(int, CODES.split(","))) * 500,))
    assert await tracker.checkpoint(job_id, "token", checkpoint)
    storage = AudioStorage(settings.storage.uri)
    song = storage.result_uri(job_id, 1, 0, "wav")
    storage.write(song, io.BytesIO(SONG.encode() * 100))
    if end:
        result = {
            "timings": {},
            "metas": {"caption": caption, "lyrics": LYRICS},
            "audio_codes": [CODES * 500],
        }
        assert await tracker.finish(job_id, "token", result, (song,), 2100)
    return job_id


def found_in(folder: Path) -> list[str]:
    """Return the secrets that any file below a folder holds, with its name."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            with suppress(FileNotFoundError):  # The housekeeping may delete it meanwhile.
                content = path.read_bytes()
                found += [f"{path.name}: {secret}" for secret in SECRETS if secret.encode() in content]
    return found


async def gone(folder: Path) -> None:
    """Wait until the housekeeping has deleted the rest."""
    async with asyncio.timeout(30):
        while found_in(folder):  # noqa: ASYNC110, only the files tell
            await asyncio.sleep(0.05)


async def test_of_a_finished_job_no_byte_remains_in_store_and_storage(
    tracker: DurableTracker, settings: Settings, tmp_path: Path
) -> None:
    for _ in range(20):
        await submit(tracker, settings, OTHER)
    for _ in range(20):
        await run(tracker, settings, OTHER)
    job_id = await submit(tracker, settings)
    assert await run(tracker, settings) == job_id
    await asyncio.sleep(0.3)  # some sweeps
    assert len({line.partition(": ")[2] for line in found_in(tmp_path)}) == len(SECRETS)
    for other in [
        view.job_id for view in await tracker.page("ann", None, 2**62, 100) if view.job_id != job_id
    ]:
        assert await tracker.purge_job(other, "ann")
    assert await tracker.purge_job(job_id, "ann") is True
    assert found_in(tmp_path) == []
    assert await tracker.view(job_id) is None
    assert await tracker.page("ann", None, 2**62, 100) == []
    assert sum((await tracker.stats()).jobs.values()) == 0
    assert await tracker.purge_job(job_id, "ann") is None
    assert OTHER.encode() not in (tmp_path / "jobs.sqlite3").read_bytes()


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed", "cancelled"])
async def test_a_job_in_any_state_is_purged(
    tracker: DurableTracker, settings: Settings, tmp_path: Path, state: str
) -> None:
    job_id = await submit(tracker, settings)
    if state == "cancelled":
        await tracker.cancel(job_id)
    elif state != "queued":
        await run(tracker, settings, end=state == "succeeded")
    if state == "failed":
        await tracker.fail(job_id, "token", f"It failed over {CAPTION}", False)
    waiting = asyncio.create_task(tracker.wait_end(job_id, 30)) if state in {"queued", "running"} else None
    await asyncio.sleep(0)
    complete = await tracker.purge_job(job_id, "ann")
    assert complete is (state != "running")
    assert await tracker.view(job_id) is None
    assert await tracker.page(None, None, 2**62, 100) == []
    assert (await tracker.stats()).jobs["queued"] == 0
    if waiting is not None:
        assert await asyncio.wait_for(waiting, 30) is None
    if state == "running":
        assert await tracker.lease_lost(job_id, "token", 30)
        assert not await tracker.finish(job_id, "token", {"metas": CAPTION}, (), 0)
        assert await tracker.purge_job(job_id, "ann") is False
        assert not await tracker.release(job_id, "token")
        await tracker.runner_stopped(job_id)
    assert found_in(tmp_path) == []
    assert not list((tmp_path / "output").glob(f"{job_id}*"))


async def test_only_the_owner_purges(tracker: DurableTracker, settings: Settings) -> None:
    job_id = await submit(tracker, settings)
    assert await tracker.purge_job(job_id, "bob") is None
    assert await tracker.purge_job("nobody", None) is None
    assert await tracker.view(job_id) is not None
    assert await tracker.purge_job(job_id, None) is True


async def test_the_idempotency_key_of_a_purged_job_is_free_again(
    tracker: DurableTracker, settings: Settings
) -> None:
    first = await submit(tracker, settings)
    await run(tracker, settings, end=False)
    assert await tracker.purge_job(first, "ann") is False  # its record is still there
    second = await submit(tracker, settings)
    view = await tracker.view(second)
    assert view is not None
    assert view.state is JobState.QUEUED


async def test_a_callback_that_is_due_is_kept_without_content(
    tracker: DurableTracker, settings: Settings, tmp_path: Path
) -> None:
    """Nothing listens at the callback's address, so its delivery stays due."""
    job_id = await submit(tracker, settings, callback=True)
    await run(tracker, settings)
    assert await tracker.purge_job(job_id, "ann") is True
    assert found_in(tmp_path) == []
    assert await tracker.view(job_id) is None
    assert await tracker.page("ann", None, 2**62, 100) == []
    assert await tracker.purge_job(job_id, "ann") is True
    tracking, _ = await tracker._open()
    view = tracking.view_for_callback(job_id)
    assert view is not None
    assert (view.state, view.result, view.files) == (JobState.SUCCEEDED, None, ())


def test_a_purged_record_goes_when_its_callback_is_made() -> None:
    tracking = Tracking()
    job_id = tracking.submit("ann", callback_url="https://example.org", uploaded_bytes=500)
    tracking.run_next(1)
    assert tracking.tracker.ended.stored_bytes == 1500
    assert tracking.tracker.purge(job_id, "ann")
    assert tracking.tracker.ended.purged() == []
    tracking.tidied(job_id)
    assert tracking.tracker.ended.stored_bytes == 0
    tracking.restart()
    assert [job.job_id for job in tracking.tracker.ended.callbacks_due()] == [job_id]
    tracking.called_back(job_id, Callback(tracking.clock.now + 1, 1))
    assert tracking.tracker.ended.purged() == []
    tracking.called_back(job_id, None)
    (left,) = tracking.tracker.ended.purged()
    tracking.tracker.ended.records_expired([left])
    assert tracking.record(job_id) is None
    assert sum(tracking.tracker.stats().jobs.values()) == 0


def test_operators_do_not_find_a_purged_job() -> None:
    tracking = Tracking()
    job_id = tracking.submit()
    tracking.tracker.claim("token")
    tracking.tracker.fail(job_id, "token", "No.", retryable=False)
    tracking.tracker.purge(job_id, None)
    assert tracking.tracker.requeue(job_id) is None
    assert tracking.tracker.cancel(job_id) is None
    with pytest.raises(RequeueError):
        tracking.tracker.requeue(tracking.run_next_of(1))


async def test_what_the_storage_does_not_delete_now_is_deleted_later(
    tracker: DurableTracker, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: AudioStorage, _job_id: str) -> None:
        raise StorageError("not now")

    job_id = await submit(tracker, settings)
    await run(tracker, settings)
    with monkeypatch.context() as patch:
        patch.setattr(AudioStorage, "delete_job", refuse)
        assert await tracker.purge_job(job_id, "ann") is False
        assert await tracker.view(job_id) is None
        assert [line for line in found_in(tmp_path) if SONG not in line] == []
    await gone(tmp_path)


async def test_a_purge_during_the_tidying_of_a_sweep_leaves_no_song(tmp_path: Path) -> None:
    house = Housekeeping(tmp_path)
    job_id = house.finish()
    async with deletion_under_way(house.storage, house.sweep()):
        assert house.tracker.purge(job_id, None)
    await house.sweep()
    assert house.files() == []
    assert await house.journal.get(job_id) is None
    assert house.tracker.ended.stored_bytes == 0


async def test_a_purge_while_songs_expire_does_not_bring_the_record_back(tmp_path: Path) -> None:
    house = Housekeeping(tmp_path)
    job_id = house.finish()
    await house.sweep()
    house.clock.now += DAY + 1
    async with deletion_under_way(house.storage, house.sweep()):
        assert await house.purge(job_id)
    assert house.state(job_id) is None
    assert await house.journal.get(job_id) is None
    assert sum(house.tracker.stats().jobs.values()) == 0
    assert house.tracker.ended.stored_bytes == 0


async def test_a_purge_while_a_sweep_chooses_songs_does_not_bring_the_record_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep reads twice where there are too many songs: those that are too old, and the oldest."""
    house = Housekeeping(tmp_path, max_bytes=SONG_BYTES)
    old = house.finish()
    await house.sweep()
    house.clock.now += DAY + 1
    for _ in range(2):
        house.finish()
    await house.journal.flushed()
    ended, reads = house.journal.ended, []

    async def purging(*arguments: Any) -> list[Job]:
        reads.append(arguments)
        found = await ended(*arguments)
        if len(reads) == 2:
            assert await house.purge(old)
        return found

    monkeypatch.setattr(house.journal, "ended", purging)
    await house.sweep()
    assert len(reads) > 2
    assert house.state(old) is None
    assert await house.journal.get(old) is None


async def test_a_purge_while_records_expire_is_counted_once(tmp_path: Path) -> None:
    house = Housekeeping(tmp_path)
    job_id = house.submit()
    house.tracker.claim("token")
    house.tracker.fail(job_id, "token", "No.", retryable=False)
    await house.sweep()
    house.clock.now += 7 * DAY + 1
    async with deletion_under_way(house.storage, house.sweep()):
        assert await house.purge(job_id)
    assert set(house.tracker.stats().jobs.values()) == {0}
    assert await house.journal.get(job_id) is None


async def test_a_purge_that_is_not_stored_is_not_acknowledged(
    tracker: DurableTracker, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job_id = await submit(tracker, settings)
    await run(tracker, settings)
    _, journal = await tracker._open()

    def fail(_changes: Any) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(journal.store, "write", fail)
        with pytest.raises(StoreError):
            await tracker.purge_job(job_id, "ann")
    async with asyncio.timeout(30):
        while await tracker.purge_job(job_id, "ann") is False:  # noqa: ASYNC110, nobody else tells
            await asyncio.sleep(0.05)
    await gone(tmp_path)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.unit.jobs.test_purging import DurableTracker, run, settings_for, submit

async def main():
    settings = settings_for(Path(sys.argv[1]))
    tracker = DurableTracker(settings)
    job_id = await submit(tracker, settings)
    await run(tracker, settings, end=False)  # it runs, so its files cannot be deleted yet
    assert await tracker.purge_job(job_id, "ann") is False
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_purge_that_was_acknowledged_completes_after_kill_9(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = await asyncio.to_thread(
        subprocess.run, command, cwd=PROJECT_ROOT, check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    left = found_in(tmp_path)
    assert left
    assert all(SONG in line for line in left)  # the content of the record went with the acknowledgement
    settings = settings_for(tmp_path)
    hasty = settings.model_copy(
        update={"jobs": settings.jobs.model_copy(update={"lease_seconds": 0.2, "heartbeat_seconds": 0.1})}
    )
    tracker = DurableTracker(hasty)
    assert (await tracker.stats()).jobs["queued"] == 0
    await gone(tmp_path)
    async with asyncio.timeout(30):
        while sum((await tracker.stats()).jobs.values()):  # noqa: ASYNC110, nobody else tells
            await asyncio.sleep(0.05)
    await tracker.close()


async def test_redis_rewrites_its_log_without_what_was_purged(
    start_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = start_redis(appendonly="yes", appendfsync="always")
    settings = settings_for(tmp_path, server.url)
    tracker = DurableTracker(settings)
    job_id = await submit(tracker, settings)
    await run(tracker, settings)
    assert found_in(server.folder)
    await tracker.purge_job(job_id, "ann")
    await gone(server.folder)
    await gone(tmp_path)
    await tracker.close()


def test_a_reader_delays_the_erasing_and_blocks_nobody(tmp_path: Path) -> None:
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    store.write({"job-1": a_job(1)})
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM jobs").fetchall()
        store.write({"job-2": a_job(2)})
        assert store.erase_deleted() is False
        store.write({"job-3": a_job(3)})
        reader.rollback()
    reader.close()
    assert store.erase_deleted() is True
    assert (tmp_path / "jobs.sqlite3-wal").stat().st_size == 0
    seen = store._data_version()
    store.write({"job-3": None})
    assert store._data_version() == seen
    store.close()
