"""A job store is full or away for a while. Accepted jobs continue, and are written afterwards.

The stores really fail, under the real tracker and real runners. Only the models are simulated.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from deployments.common.errors import StorageError
from serve_app.execution import lease, runner
from serve_app.jobs import durable_tracker as actor_module
from serve_app.jobs.durable_tracker import DISK_FULL, STORE_FAILS, DurableTracker
from serve_app.jobs.errors import NoRoomError
from serve_app.jobs.model import JobState
from serve_app.jobs.storing.sqlite_store import SqliteJobStore
from serve_app.jobs.storing.store import StoreError
from serve_app.jobs.storing.stores import open_store
from serve_app.jobs.surroundings import REAL
from tests.job_records import a_finished_job, a_job
from tests.redis_server import RedisServer
from tests.runner_server import Server, eventually
from tests.store_faults import Fault, fault_of

KINDS = ["full disk", "full redis", "lost redis"]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses before retries."""
    monkeypatch.setattr(runner, "CLAIM_WAIT_SECONDS", 0.05)
    for module in (runner, lease):
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(actor_module, "STORE_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(actor_module, "LEASE_CHECK_SECONDS", 0.05)


@pytest.fixture(params=KINDS)
async def outage(
    request: pytest.FixtureRequest, tmp_path: Path, start_redis: Callable[..., RedisServer]
) -> AsyncIterator[tuple[Server, Fault]]:
    songs = tmp_path / "songs"
    songs.mkdir()
    with fault_of(request.param, tmp_path, start_redis) as fault:
        server = Server(songs, store=fault.location)
        yield server, fault
        await server.runners.stop()
        await server.tracker.actor.close()


async def stored_states(fault: Fault, *job_ids: str) -> list[JobState | None]:
    """Return the states that a newly started tracker would find."""

    def read() -> list[JobState | None]:
        store = open_store(fault.location)
        try:
            return [job and job.state for job in map(store.get, job_ids)]
        finally:
            store.close()

    return await asyncio.to_thread(read)


async def says(server: Server, no_room: str | None) -> None:
    """Wait until the tracker tells why there is no room for new jobs, or that there is."""
    async with asyncio.timeout(10):
        while (await server.tracker.actor.stats()).no_room != no_room:  # noqa: ASYNC110, nobody else tells
            await asyncio.sleep(0.01)


async def refused(server: Server) -> None:
    with pytest.raises(NoRoomError, match=STORE_FAILS):
        await server.submit()


async def test_nothing_accepted_is_lost_and_all_jobs_end_when_the_store_is_back(
    outage: tuple[Server, Fault],
) -> None:
    server, fault = outage
    actor = server.tracker.actor
    done = await server.submit()
    assert (await server.ended(done)).state is JobState.SUCCEEDED
    server.models.hangs_in = "denoising"
    running = await server.submit()
    await eventually(lambda: server.models.calls.count("denoising") == 2)
    waiting, unwanted = await server.submit(), await server.submit()

    fault.begin()
    await refused(server)
    await refused(server)
    await says(server, STORE_FAILS)
    # Polls, listings and heartbeats continue, also for jobs that ended before.
    assert (await server.view(done)).state is JobState.SUCCEEDED
    assert (await server.view(running)).state is JobState.RUNNING
    assert (await server.view(waiting)).queue_position == 1
    # A cancellation takes effect at once.
    cancelled = await actor.cancel(unwanted)
    assert cancelled is not None
    assert (await server.view(unwanted)).state is cancelled.state is JobState.CANCELLED
    # The running job ends. Its runner keeps reporting the result, and no other job is begun.
    server.models.go_on.set()
    server.models.hangs_in = ""
    await eventually(lambda: server.models.calls.count("decoding") == 2)
    assert (await server.ended(running)).state is JobState.SUCCEEDED
    await asyncio.sleep(0.3)
    assert (await server.view(waiting)).state is JobState.QUEUED
    assert server.models.calls.count("denoising") == 2
    await refused(server)

    await asyncio.to_thread(fault.end)
    assert (await server.ended(waiting)).state is JobState.SUCCEEDED
    late = await submitted(server)
    assert (await server.ended(late)).state is JobState.SUCCEEDED
    assert [(await server.view(job_id)).attempt for job_id in (done, running, waiting)] == [1, 1, 1]
    await says(server, None)
    assert (await actor.stats()).jobs == {
        "queued": 0,
        "running": 0,
        "succeeded": 4,
        "failed": 0,
        "cancelled": 1,
    }
    await server.runners.stop()
    await actor.close()
    states = await stored_states(fault, done, running, waiting, late, unwanted)
    assert states == [JobState.SUCCEEDED] * 4 + [JobState.CANCELLED]


async def submitted(server: Server) -> str:
    """Submit a job until it is accepted, and return its id."""
    for _ in range(200):
        try:
            return await server.submit()
        except NoRoomError:
            await asyncio.sleep(0.05)
    raise AssertionError("the tracker takes no jobs again")


async def test_leases_outlast_an_outage_and_an_outage_outlasts_no_lease(
    outage: tuple[Server, Fault],
) -> None:
    """The runner's heartbeats are answered from memory for several times the duration of a lease."""
    server, fault = outage
    await server.runners.stop()
    await server.tracker.actor.close()
    tracker = TimedTracker(server.settings)
    server.tracker.actor = tracker
    server.start()
    server.models.hangs_in = "denoising"
    job_id = await server.submit()
    await server.reach("denoising")
    fault.begin()
    for _ in range(5):
        heard = tracker.heartbeats
        tracker.now += 0.8 * server.settings.jobs.lease_seconds
        await eventually(lambda heard=heard: tracker.heartbeats >= heard + 2)
    assert (await server.view(job_id)).attempt == 1
    await asyncio.to_thread(fault.end)
    server.models.go_on.set()
    assert (await server.ended(job_id)).attempt == 1


class TimedTracker(DurableTracker):
    """A tracker whose steady clock is moved by the test. It counts the heartbeats that it has answered."""

    def __init__(self, settings: Settings) -> None:
        self.now = 1000.0
        self.heartbeats = 0
        super().__init__(settings, outside=replace(REAL, steady=lambda: self.now))

    async def heartbeat(self, *heartbeat: Any) -> bool:
        kept = await super().heartbeat(*heartbeat)
        self.heartbeats += 1
        return kept


async def submit_again_and_again(server: Server) -> None:
    """Submit until something other than a full store is the answer. A server looks every second for room."""
    async with asyncio.timeout(30):
        while True:
            with suppress(NoRoomError):
                await server.submit()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["full disk", "full redis"])
async def test_a_tracker_that_starts_on_a_full_store_answers_polls_and_goes_on_when_there_is_room(
    kind: str, tmp_path: Path, start_redis: Callable[..., RedisServer]
) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    with fault_of(kind, tmp_path, start_redis) as fault:
        first = Server(songs, store=fault.location)
        done = await first.submit()
        await first.ended(done)
        await first.runners.stop()
        waiting = await first.submit()
        fault.begin()
        # The first server is treated as if it were killed, so nothing is closed.
        second = Server(songs, store=fault.location)
        second._ids = count(100)
        assert (await second.view(done)).state is JobState.SUCCEEDED
        await refused(second)
        await eventually(lambda: second.tracker.actor._store_failed)  # The tracker could not write a claim.
        view = await second.view(waiting)
        assert (view.state, view.attempt) == (JobState.QUEUED, 0)
        await asyncio.to_thread(fault.end)
        assert (await second.ended(waiting)).state is JobState.SUCCEEDED
        with pytest.raises(StoreError, match="another job tracker"):
            await submit_again_and_again(first)
        with pytest.raises(StoreError, match="another job tracker"):
            await first.view(done)
        await second.runners.stop()
        for server in (first, second):
            await server.tracker.actor.close()


@pytest.mark.parametrize("kind", ["full disk", "full redis"])
async def test_a_tracker_that_starts_on_a_full_store_begins_what_the_one_before_still_accepts(
    kind: str, tmp_path: Path, start_redis: Callable[..., RedisServer]
) -> None:
    """The later tracker writes nothing itself, so no write tells it that the store has changed."""
    songs = tmp_path / "songs"
    songs.mkdir()
    with fault_of(kind, tmp_path, start_redis) as fault:
        first = Server(songs, store=fault.location)
        await first.runners.stop()
        assert (await first.tracker.actor.stats()).no_room is None
        fault.begin()
        second = Server(songs, store=fault.location)
        assert (await second.tracker.actor.stats()).no_room is None
        await asyncio.to_thread(fault.end)
        accepted = await first.submit()
        await eventually(lambda: second.models.calls.count("decoding") == 1)
        assert (await second.ended(accepted)).state is JobState.SUCCEEDED
        await second.runners.stop()
        for server in (first, second):
            await server.tracker.actor.close()


@pytest.mark.parametrize("kind", ["full disk", "full redis"])
async def test_records_can_be_deleted_from_a_full_store(
    kind: str, tmp_path: Path, start_redis: Callable[..., RedisServer]
) -> None:
    """This also holds for a file whose pages are all in use.

    On a full disk, the room that the log keeps is used.
    """
    records = {f"job-{number}": a_finished_job(number, 1.0, error="x" * 5_000) for number in range(60)}
    with fault_of(kind, tmp_path, start_redis) as fault, closing(open_store(fault.location)) as store:
        store.write(records)
        if kind == "full disk":
            assert isinstance(store, SqliteJobStore)
            store._writer.execute("PRAGMA wal_checkpoint")
            (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
            store._writer.execute(f"PRAGMA max_page_count = {pages}")
        fault.begin()
        with pytest.raises(StoreError, match=r"full|memory"):
            store.write({"job-100": a_job(100, error="x" * 200_000)})
        store.write(dict.fromkeys(records))
        assert store.unknown(records) == set(records)
        fault.end()
        store.write({"job-100": a_job(100, error="x" * 200_000)})


async def test_a_disk_with_less_than_the_minimum_free_takes_no_new_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minimum is reserved for accepted jobs, which continue."""
    songs = tmp_path / "songs"
    songs.mkdir()
    server = Server(songs, store=str(tmp_path / "jobs.sqlite3"))
    server.models.hangs_in = "denoising"
    running, waiting = await server.submit(), await server.submit()
    await eventually(lambda: server.models.calls.count("denoising") == 1)
    monkeypatch.setattr(actor_module, "free_bytes", lambda _: server.settings.storage.min_free_bytes - 1)
    await eventually(lambda: not server.tracker.actor._has_disk)
    assert (await server.tracker.actor.stats()).no_room == DISK_FULL
    with pytest.raises(NoRoomError, match=DISK_FULL):
        await server.submit()
    server.models.hangs_in = ""
    server.models.go_on.set()
    for accepted in (running, waiting):
        assert (await server.ended(accepted)).state is JobState.SUCCEEDED
    monkeypatch.setattr(actor_module, "free_bytes", lambda _: server.settings.storage.min_free_bytes)
    await eventually(lambda: server.tracker.actor._has_disk)
    assert (await server.ended(await server.submit())).state is JobState.SUCCEEDED
    await server.runners.stop()
    await server.tracker.actor.close()


async def test_no_job_is_begun_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attempts would fail one after the other, until none is left."""
    songs = tmp_path / "songs"
    songs.mkdir()
    server = Server(songs, store=str(tmp_path / "jobs.sqlite3"))
    server.models.hangs_in = "denoising"
    running, waiting = await server.submit(), await server.submit()
    await eventually(lambda: server.models.calls.count("denoising") == 1)
    monkeypatch.setattr(actor_module, "free_bytes", lambda _: 0)
    await says(server, DISK_FULL)
    server.models.hangs_in = ""
    server.models.go_on.set()
    assert (await server.ended(running)).state is JobState.SUCCEEDED
    await asyncio.sleep(0.3)
    assert (await server.view(waiting)).state is JobState.QUEUED
    monkeypatch.setattr(actor_module, "free_bytes", lambda _: server.settings.storage.min_free_bytes)
    assert (await server.ended(waiting)).state is JobState.SUCCEEDED


async def test_an_attempt_that_fails_below_the_minimum_is_repeated_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is not full, but its rest is too small for a song."""
    songs = tmp_path / "songs"
    songs.mkdir()
    server = Server(songs, store=str(tmp_path / "jobs.sqlite3"))
    server.models.hangs_in = "denoising"
    server.models.failures["decoding"] = [StorageError("No space left on device")] * 3
    job_id = await server.submit()
    await eventually(lambda: server.models.calls.count("denoising") == 1)
    monkeypatch.setattr(actor_module, "free_bytes", lambda _: server.settings.storage.min_free_bytes - 1)
    await says(server, DISK_FULL)
    server.models.hangs_in = ""
    server.models.go_on.set()
    await eventually(lambda: server.models.calls.count("decoding") == 1)
    await eventually(lambda: server.tracker.actor._disk_is_full)
    await asyncio.sleep(0.3)
    assert (await server.view(job_id)).state is JobState.QUEUED
    assert server.models.calls.count("decoding") == 1
    del server.models.failures["decoding"]
    monkeypatch.setattr(actor_module, "free_bytes", lambda _: server.settings.storage.min_free_bytes)
    assert (await server.ended(job_id)).state is JobState.SUCCEEDED


async def test_a_store_out_of_reach_is_noticed_though_nothing_is_written(
    tmp_path: Path, start_redis: Callable[..., RedisServer]
) -> None:
    with fault_of("lost redis", tmp_path, start_redis) as fault:
        server = Server(tmp_path / "songs", store=fault.location)
        await says(server, None)
        fault.begin()
        await says(server, STORE_FAILS)
        await asyncio.to_thread(fault.end)
        await says(server, None)
        await server.runners.stop()
        await server.tracker.actor.close()
