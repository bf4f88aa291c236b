"""The tracker for remote callers: durable answers, waits, and its behaviour when the store fails."""

import asyncio
import io
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path

import httpx
import pytest

from configs.settings import Settings
from serve_app.jobs import durable_tracker as actor_module
from serve_app.jobs import loaded_adapters
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.errors import DrainingError, LimitError, NoRoomError
from serve_app.jobs.loaded_adapters import (
    NOTHING_LOADED,
    AdaptersOfClients,
    LoadedAdapter,
    LoadedAdapters,
    note_of,
)
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Client, IdempotencyKey, Job, JobState, NewJob
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import (
    JobStore,
    MemoryJobStore,
    StoreError,
    StoreReplacedError,
    StoreTakenError,
)
from serve_app.jobs.storing.stores import open_store
from serve_app.jobs.surroundings import Surroundings
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage
from tests.job_tracking import WORK, Clock
from tests.runner_server import eventually

SPEC = JobSpec(GenerateRequest(), seeds=(1,))
PROMPTLY = 15.0
"""Seconds.

It is half of what the waits below would take without news, and far above the stalls of a busy machine.
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(jobs={"store": str(tmp_path / "jobs.sqlite3")}, storage={"uri": str(tmp_path / "output")})


@pytest.fixture
async def actor(settings: Settings) -> AsyncIterator[DurableTracker]:
    actor = DurableTracker(settings)
    yield actor
    await actor.close()


async def submit(actor: DurableTracker, *job_ids: str) -> None:
    for job_id in job_ids:
        await actor.submit(NewJob(job_id, SPEC, WORK))


async def test_what_was_answered_is_on_disk(actor: DurableTracker, settings: Settings) -> None:
    await submit(actor, "a", "b")
    claim = await actor.claim("token", 0)
    assert claim is not None
    await actor.finish("a", "token", {"timings": {}}, (), 0)
    successor = DurableTracker(settings)
    assert (await successor.stats()).jobs["succeeded"] == 1
    view = await successor.view("b")
    assert view is not None
    assert (view.state, view.queue_position) == (JobState.QUEUED, 1)
    await successor.close()


async def test_a_cancellation_that_waits_while_the_tracker_begins_anew_is_not_confirmed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for readers of the tracker before, and is lost with the memory of this one."""
    monkeypatch.setattr(actor_module, "STORE_CHECK_SECONDS", 0.01)

    class FailingStore(MemoryJobStore):
        problem: StoreError | None = None

        def write(self, changes: Mapping[str, Job | None]) -> None:
            if self.problem is not None:
                raise self.problem
            super().write(changes)

    store = FailingStore()
    outside = Surroundings(open_store=lambda _: store)
    actor = DurableTracker(settings, outside=outside, has_predecessor=True)
    await submit(actor, "a")
    opened = actor._opened
    store.problem = StoreError("the store is full")
    cancelling = asyncio.create_task(actor.cancel("a"))
    await eventually(lambda: opened is not None and opened[1].problem is not None)
    store.problem = StoreReplacedError("another tracker has written")
    await eventually(lambda: actor._opened is not opened)
    store.problem = None
    with pytest.raises(StoreReplacedError):
        await cancelling
    view = await actor.view("a")
    assert view is not None
    assert view.state is JobState.QUEUED
    await actor.close()


async def test_leases_begin_when_a_tracker_that_starts_has_read_its_store(settings: Settings) -> None:
    """No runner is heard while it reads a slow store."""
    steady = Clock()

    class SlowStore(MemoryJobStore):
        def client_notes(self) -> Mapping[str, str]:
            steady.now += settings.jobs.lease_seconds
            return super().client_notes()

    store = SlowStore()
    outside = Surroundings(steady=steady, open_store=lambda _: store)
    first = DurableTracker(settings, outside=outside)
    await submit(first, "a")
    await first.claim("token", 0)
    second = DurableTracker(settings, outside=outside)
    await second.stats()
    await second._check_leases()
    assert await second.heartbeat("a", "token", "denoising", 0.5)
    for actor in (first, second):
        await actor.close()


async def test_an_end_is_called_back_after_its_own_write_and_not_after_an_earlier_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_module, "CALLBACK_CHECK_SECONDS", 0.01)
    writes, told = 0, []
    allowed = threading.Semaphore(3)
    """The number of writes that may begin."""
    checks = 0
    goes_on = asyncio.Event()
    """Lets a check of callbacks go on after its wait for readers."""

    class SlowStore(MemoryJobStore):
        def write(self, changes: Mapping[str, Job | None]) -> None:
            nonlocal writes
            writes += 1
            allowed.acquire(timeout=PROMPTLY)
            super().write(changes)

    async def answer(request: httpx.Request) -> httpx.Response:
        told.append(json.loads(request.content)["status"])
        return httpx.Response(200)

    async def settled(_job_ids: Collection[str], _journal: Journal) -> None:
        nonlocal checks
        checks += 1
        await goes_on.wait()

    store = SlowStore()
    outside = Surroundings(open_store=lambda _: store, callbacks=httpx.MockTransport(answer))
    actor = DurableTracker(settings, outside=outside)
    monkeypatch.setattr(actor, "_settled", settled)
    spec = JobSpec(GenerateRequest(callback_url="http://93.184.216.34/ended"), seeds=(1,))
    await actor.submit(NewJob("told", spec, WORK))
    await submit(actor, "other")
    await actor.claim("token", 0)
    await eventually(lambda: checks == 1)
    later = asyncio.create_task(submit(actor, "late"))
    await eventually(lambda: writes == 4)
    goes_on.set()
    for _ in range(10):
        await asyncio.sleep(0)  # the check comes to wait for the fourth write
    ending = asyncio.create_task(actor.fail("told", "token", "It failed.", False))
    await eventually(lambda: actor._opened is not None and bool(actor._opened[0].ended.callbacks_due()))
    allowed.release()
    await later
    await eventually(lambda: checks == 2)
    assert told == []
    allowed.release(100)
    assert await ending
    await eventually(lambda: told == ["failed"])
    await actor.close()


@pytest.mark.parametrize(("restarts", "is_set_back"), [(False, True), (True, False), (True, True)])
async def test_a_clock_that_is_set_before_the_first_sweep_deletes_nothing(
    settings: Settings, restarts: bool, is_set_back: bool
) -> None:
    """It is set forward after the end of a job, and perhaps set back before that."""
    wall, machine = Clock(), Clock()
    day = settings.storage.result_seconds
    rarely = settings.model_copy(
        update={"storage": settings.storage.model_copy(update={"sweep_seconds": 1000.0})}
    )
    outside = Surroundings(wall=wall, machine=machine)
    actor = DurableTracker(rarely, outside=outside)
    storage, job_id = AudioStorage(settings.storage.uri), str(uuid.UUID(int=1))
    song = storage.result_uri(job_id, 1, 0, "wav")
    await submit(actor, job_id)
    await eventually(lambda: bool(storage.sign_ins()))
    if is_set_back:
        wall.now -= day + 1
    await actor.claim("token", 0)
    storage.write(song, io.BytesIO(b"song"))
    await actor.finish(job_id, "token", {"timings": {}}, (song,), 4)
    wall.now += day + 1
    if restarts:
        await actor.close()
        actor = DurableTracker(rarely, outside=outside)
        await actor.stats()

    async def sweep() -> list[str]:
        assert actor._opened is not None
        for _ in range(2):  # what has expired is written after the first sweep
            async with actor._cleaning:
                await actor._janitor.sweep(*actor._opened)
        return storage.job_ids()

    assert await sweep() == [job_id]
    machine.now += day + 1
    assert await sweep() == []
    await actor.close()


async def test_a_request_that_repeats_another_is_admitted_where_a_new_one_would_be_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = settings.model_copy(
        update={"jobs": settings.jobs.model_copy(update={"client_jobs": 1, "queue_limit": 1})}
    )
    actor = DurableTracker(limited)
    await actor.admit("me", "key")
    await actor.submit(NewJob("a", SPEC, WORK, Client("me"), idempotency=IdempotencyKey("key", "print")))
    await actor.admit("me", "key")
    for client, key in (("me", None), ("me", "other"), ("you", "key")):
        with pytest.raises(LimitError):
            await actor.admit(client, key)
    # The wait is treated as if a day had passed.
    monkeypatch.setattr("serve_app.jobs.book.IDEMPOTENCY_SECONDS", -1.0)
    with pytest.raises(LimitError):
        await actor.admit("me", "key")
    await actor.close()


async def test_nothing_is_admitted_where_the_disk_has_no_room(settings: Settings) -> None:
    enough = settings.model_copy(
        update={"storage": settings.storage.model_copy(update={"min_free_bytes": 1 << 62})}
    )
    actor = DurableTracker(enough)
    await actor.stats()
    async with asyncio.timeout(PROMPTLY):
        while True:
            try:
                await actor.admit("me", None)
            except NoRoomError:
                break
            await asyncio.sleep(0.05)
    await actor.close()


async def test_a_store_is_opened_once_by_calls_that_come_at_the_same_time(
    actor: DurableTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, opened = threading.Event(), []

    def open_counted(location: str) -> JobStore:
        opened.append(location)
        return open_store(location)

    def look_slowly(_folders: object) -> None:
        looking.set()
        time.sleep(0.2)

    monkeypatch.setattr("serve_app.jobs.durable_tracker.open_store", open_counted)
    monkeypatch.setattr("serve_app.jobs.durable_tracker.free_bytes", look_slowly)
    opening = asyncio.create_task(actor.stats())
    await asyncio.to_thread(looking.wait)
    await submit(actor, "a")
    await opening
    assert len(opened) == 1


async def test_claims_that_wait_get_all_jobs_that_come_at_once(actor: DurableTracker) -> None:
    claims = [asyncio.create_task(actor.claim(f"token-{index}", 30)) for index in range(3)]
    await asyncio.sleep(0.05)
    await asyncio.gather(*(submit(actor, job_id) for job_id in "abc"))
    async with asyncio.timeout(PROMPTLY):
        found = await asyncio.gather(*claims)
    assert {claim.job.job_id for claim in found if claim} == set("abc")


async def test_a_claim_waits_no_longer_than_asked(actor: DurableTracker) -> None:
    async with asyncio.timeout(PROMPTLY):
        assert await actor.claim("token", 0.05) is None
        assert await actor.claim("token", 0) is None


async def test_waits_end_when_something_changes_or_time_is_over(actor: DurableTracker) -> None:
    await submit(actor, "a", "b")
    view = await actor.view("b")
    assert view is not None
    assert await actor.wait("b", view.version, 0.05) == view
    waiting = asyncio.create_task(actor.wait("b", view.version, 30))
    staging = asyncio.create_task(actor.wait_change("a", None, 30))
    await asyncio.sleep(0.05)
    await actor.claim("token", 0)
    async with asyncio.timeout(PROMPTLY):
        moved, claimed = await waiting, await staging
    assert moved is not None
    assert moved.queue_position == 1
    assert claimed is not None
    assert claimed.state is JobState.RUNNING


async def test_a_wait_for_another_stage_ends_by_its_time_and_at_once_for_strangers_and_ended_jobs(
    actor: DurableTracker,
) -> None:
    await submit(actor, "a")
    waiting = await actor.wait_change("a", None, 0.05)
    assert waiting == await actor.view("a")
    async with asyncio.timeout(PROMPTLY):
        assert await actor.wait_change("a", "a stranger", 30) == waiting
        await actor.cancel("a")
        ended = await actor.wait_change("a", None, 30)
    assert ended is not None
    assert ended.state is JobState.CANCELLED


async def test_a_wait_for_the_end_is_over_with_the_job_or_with_its_time(actor: DurableTracker) -> None:
    await submit(actor, "a")
    waiting = await actor.wait_end("a", 0.05)
    assert waiting == await actor.view("a")
    ending = asyncio.create_task(actor.wait_end("a", 30))
    await actor.claim("token", 0)
    await actor.heartbeat("a", "token", "denoising", 0.5)
    await asyncio.sleep(0.05)
    assert not ending.done()
    await actor.finish("a", "token", {"timings": {}}, (), 0)
    async with asyncio.timeout(PROMPTLY):
        ended = await ending
        assert await actor.wait_end("a", 30) == ended
        assert await actor.wait_end("never", 30) is None
    assert ended is not None
    assert ended.state is JobState.SUCCEEDED
    assert actor._changes == {}


async def test_nobody_waits_for_a_job_that_never_was(actor: DurableTracker) -> None:
    async with asyncio.timeout(PROMPTLY):
        assert await actor.wait("never", "", 30) is None
        assert await actor.wait_change("never", None, 30) is None
        assert await actor.lease_lost("never", "token", 30)
    assert actor._changes == {}


async def test_a_runner_hears_at_once_that_its_job_was_cancelled(actor: DurableTracker) -> None:
    await submit(actor, "a")
    await actor.claim("token", 0)
    assert not await actor.lease_lost("a", "token", 0.05)
    losing = asyncio.create_task(actor.lease_lost("a", "token", 30))
    await asyncio.sleep(0.05)
    await actor.cancel("a")
    async with asyncio.timeout(PROMPTLY):
        assert await losing
    assert not await actor.heartbeat("a", "token", "denoising", 0.5)


async def test_a_tracker_with_nothing_to_write_notices_that_another_one_has_its_store(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would renew leases that the other one has ended, and not know jobs that the other one accepts."""
    monkeypatch.setattr(actor_module, "STORE_CHECK_SECONDS", 0.01)
    actor = DurableTracker(settings)
    await submit(actor, "a")
    await actor.claim("token", 0)
    assert await actor.heartbeat("a", "token", "planning", 0.0)
    successor = DurableTracker(settings)
    await submit(successor, "b")
    await eventually(lambda: actor._taken is not None)
    with pytest.raises(StoreTakenError):
        await actor.heartbeat("a", "token", "planning", 0.0)
    with pytest.raises(StoreTakenError):
        await actor.view("b")
    assert (await successor.stats()).jobs["running"] == 1
    await actor.close()
    await successor.close()


async def test_an_operator_s_mode_outlives_the_tracker(actor: DurableTracker, settings: Settings) -> None:
    await actor.set_mode(Mode.DRAINING)
    with pytest.raises(DrainingError):
        await submit(actor, "a")
    successor = DurableTracker(settings)
    assert (await successor.stats()).mode is Mode.DRAINING
    await successor.set_mode(Mode.OPEN)
    await submit(successor, "a")
    await successor.close()


async def test_the_adapters_that_a_client_has_loaded_outlive_the_tracker(
    actor: DurableTracker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_adapters, "MAX_CLIENTS", 2)
    folk = LoadedAdapters((LoadedAdapter("mine", "folk", 0.5),), active="mine", is_on=False)
    for client in ("ann", "bob", "cid", "dan"):
        await actor.keep_adapters(client, folk)
    await actor.keep_adapters("dan", NOTHING_LOADED)
    successor = DurableTracker(settings)
    known = {client: await successor.loaded_adapters(client) for client in ("ann", "bob", "cid", "dan")}
    assert known == {"ann": NOTHING_LOADED, "bob": NOTHING_LOADED, "cid": folk, "dan": NOTHING_LOADED}
    await successor.close()


def test_a_note_that_cannot_be_read_is_no_adapter() -> None:
    notes = AdaptersOfClients({"ann": '{"adapters": 5}', "bob": note_of(LoadedAdapters(active="x")) or ""})
    assert (notes.of("ann"), notes.of("bob")) == (NOTHING_LOADED, LoadedAdapters(active="x"))


async def test_runners_that_wait_hear_at_once_that_the_server_goes_on(actor: DurableTracker) -> None:
    await actor.set_mode(Mode.PAUSED)
    await submit(actor, "a")
    waiting = asyncio.create_task(actor.claim("token", 30))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await actor.set_mode(Mode.OPEN)
    async with asyncio.timeout(PROMPTLY):
        claim = await waiting
    assert claim is not None


async def test_a_runner_that_hangs_hears_that_its_job_was_taken_away(actor: DurableTracker) -> None:
    await submit(actor, "a")
    await actor.claim("hangs", 0)
    losing = asyncio.create_task(actor.lease_lost("a", "hangs", 30))
    claiming = asyncio.create_task(actor.claim("other", 30))
    await asyncio.sleep(0.05)
    await actor.requeue("a")
    async with asyncio.timeout(PROMPTLY):
        assert await losing
        claim = await claiming
    assert claim is not None
    assert claim.job.job_id == "a"
