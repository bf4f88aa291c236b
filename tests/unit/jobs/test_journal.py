"""Group commit: what is saved together is written together, and nobody hears of it sooner."""

import asyncio
import random
import threading
import time
from collections.abc import Mapping

import pytest

from serve_app.jobs.journal import Journal
from serve_app.jobs.model import IdempotencyKey, Job
from serve_app.jobs.store import MemoryJobStore, StoreError
from tests.job_records import a_job


class RecordingStore(MemoryJobStore):
    """Notes its writes, takes its time over them, and fails where it is told to."""

    def __init__(self, seconds: float = 0.0, failing_write: int | None = None) -> None:
        super().__init__()
        self.writes: list[dict[str, Job | None]] = []
        self.durable: dict[str, Job | None] = {}
        self.overlapping = False
        self._begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self._seconds = seconds
        self._failing_write = failing_write
        self._busy = threading.Lock()

    async def begins(self) -> None:
        """Return when a write has begun that no call before has heard of."""
        assert await asyncio.to_thread(self._begun.acquire, timeout=5)

    def write(self, changes: Mapping[str, Job | None]) -> None:
        self.overlapping |= not self._busy.acquire(blocking=False)
        self.writes.append(dict(changes))
        self._begun.release()
        self.gate.wait(5)
        time.sleep(self._seconds)
        if len(self.writes) == self._failing_write:
            raise StoreError("the disk is full")
        super().write(changes)
        self.durable |= changes
        self._busy.release()


async def test_what_a_hundred_callers_save_at_once_is_one_write() -> None:
    store = RecordingStore()
    journal = Journal(store)

    async def save(number: int) -> None:
        journal.save(a_job(number))
        await journal.flushed()

    await asyncio.gather(*(save(number) for number in range(100)))
    assert len(store.writes) <= 2
    assert store.next_sequence() == 100


async def test_what_is_saved_while_a_write_runs_waits_for_the_next_one() -> None:
    store = RecordingStore()
    journal = Journal(store)
    store.gate.clear()
    journal.save(a_job(0))
    first = asyncio.create_task(journal.flushed())
    await store.begins()
    for number in range(1, 50):
        journal.save(a_job(number))
    second = asyncio.create_task(journal.flushed())
    await asyncio.sleep(0.01)
    assert not first.done()
    assert not second.done()
    store.gate.set()
    await asyncio.gather(first, second)
    assert [len(write) for write in store.writes] == [1, 49]


async def test_the_newest_record_is_read_whether_written_or_not() -> None:
    store = RecordingStore()
    journal = Journal(store)
    store.write({"job-1": a_job(1), "job-2": a_job(2)})
    await store.begins()
    journal.save(a_job(1, progress=0.5))
    journal.delete("job-2")
    assert journal.get("job-1") == a_job(1, progress=0.5)
    assert journal.get("job-2") is None
    store.gate.clear()
    flushed = asyncio.create_task(journal.flushed())
    await store.begins()
    assert journal.get("job-1") == a_job(1, progress=0.5)
    assert journal.get("job-2") is None
    journal.save(a_job(1, progress=0.75))
    assert journal.get("job-1") == a_job(1, progress=0.75)
    store.gate.set()
    await flushed
    await journal.flushed()
    assert store.get("job-1") == journal.get("job-1") == a_job(1, progress=0.75)
    assert journal.get("job-3") is None


async def test_an_idempotency_key_finds_the_newest_job_whether_written_or_not() -> None:
    store = RecordingStore()
    journal = Journal(store)
    first, second, third = (
        a_job(number, client="a", idempotency=IdempotencyKey("key", str(number))) for number in range(3)
    )
    store.write({first.job_id: first})
    await store.begins()
    assert journal.find("a", "key") == first
    journal.save(second)
    assert journal.find("a", "key") == second
    assert journal.find("b", "key") is None
    assert journal.find("a", "other") is None
    store.gate.clear()
    flushed = asyncio.create_task(journal.flushed())
    await store.begins()
    assert journal.find("a", "key") == second
    journal.save(third)
    assert journal.find("a", "key") == third
    journal.save(changed := second.with_(progress=0.5))
    journal.delete(third.job_id)
    assert journal.get(second.job_id) == changed
    store.gate.set()
    await flushed
    await journal.flushed()
    assert journal.find("a", "key") == changed


async def test_a_write_that_fails_is_the_last_one() -> None:
    store = RecordingStore(failing_write=2)
    journal = Journal(store)
    journal.save(a_job(1))
    await journal.flushed()
    journal.save(a_job(2))
    with pytest.raises(StoreError, match="the disk is full"):
        await journal.flushed()
    with pytest.raises(StoreError):
        await journal.flushed()
    journal.save(a_job(3))
    with pytest.raises(StoreError):
        await journal.flushed()
    assert len(store.writes) == 2
    assert store.get("job-3") is None


async def test_everybody_who_waits_for_a_failed_write_or_the_one_after_it_hears_of_it() -> None:
    store = RecordingStore(seconds=0.01, failing_write=1)
    journal = Journal(store)

    async def save(number: int) -> None:
        journal.save(a_job(number))
        await journal.flushed()

    first = [asyncio.create_task(save(number)) for number in range(3)]
    await store.begins()
    second = [asyncio.create_task(save(number)) for number in range(3, 6)]
    ends = await asyncio.gather(*first, *second, return_exceptions=True)
    assert [type(end) for end in ends] == [StoreError] * 6


async def test_a_caller_who_goes_away_takes_nobody_s_write_along() -> None:
    store = RecordingStore(seconds=0.02)
    journal = Journal(store)
    journal.save(a_job(1))
    leaving = asyncio.create_task(journal.flushed())
    staying = asyncio.create_task(journal.flushed())
    await asyncio.sleep(0.005)
    leaving.cancel()
    await staying
    assert store.get("job-1") == a_job(1)


async def test_with_nothing_saved_nothing_is_written() -> None:
    store = RecordingStore()
    await Journal(store).flushed()
    assert store.writes == []


@pytest.mark.parametrize("seed", range(5))
async def test_nobody_is_told_before_their_record_is_durable(seed: int) -> None:
    """Many callers in random order, a slow store; each finds its own change, or a later one, written."""
    chance = random.Random(seed)
    store = RecordingStore(seconds=0.0005)
    journal = Journal(store)
    versions = dict.fromkeys(range(5), 0)

    async def change(number: int) -> None:
        for _ in range(chance.randrange(15)):
            await asyncio.sleep(0)
        versions[number] += 1
        version = versions[number]
        journal.save(a_job(number, attempt=version))
        if chance.random() < 0.2:
            await asyncio.sleep(0.001)
        await journal.flushed()
        durable = store.durable[f"job-{number}"]
        assert durable is not None
        assert durable.attempt >= version

    await asyncio.gather(*(change(chance.randrange(5)) for _ in range(200)))
    assert not store.overlapping
    assert {number: store.get(f"job-{number}") for number, version in versions.items()} == {
        number: a_job(number, attempt=version) for number, version in versions.items()
    }
