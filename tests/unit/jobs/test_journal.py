"""Group commit: changes that are saved together are written together, and no caller hears of them earlier."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping

import pytest

from serve_app.jobs.model import Client, IdempotencyKey, Job, JobState, NewJob
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import MemoryJobStore, StoreError, StoreReplacedError, StoreTakenError
from tests.job_records import SPEC, WORK, a_job


class RecordingStore(MemoryJobStore):
    """Records its writes, delays them, and fails where it is told to."""

    def __init__(
        self,
        seconds: float = 0.0,
        failing_write: int | None = None,
        error: type[StoreError] = StoreError,
    ) -> None:
        super().__init__()
        self.writes: list[dict[str, Job | None]] = []
        self.durable: dict[str, Job | None] = {}
        self.overlapping = False
        self._begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self._seconds = seconds
        self._failing_write = failing_write
        self._error = error
        self._busy = threading.Lock()

    async def begins(self) -> None:
        """Return when a write has begun that no earlier call has returned for."""
        assert await asyncio.to_thread(self._begun.acquire, timeout=5)

    def write(self, changes: Mapping[str, Job | None]) -> None:
        self.overlapping |= not self._busy.acquire(blocking=False)
        try:
            self.writes.append(dict(changes))
            self._begun.release()
            self.gate.wait(5)
            time.sleep(self._seconds)
            if len(self.writes) == self._failing_write:
                raise self._error("the disk is full")
            super().write(changes)
            self.durable |= changes
        finally:
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
    assert await journal.get("job-1") == a_job(1, progress=0.5)
    assert await journal.get("job-2") is None
    store.gate.clear()
    flushed = asyncio.create_task(journal.flushed())
    await store.begins()
    assert await journal.get("job-1") == a_job(1, progress=0.5)
    assert await journal.get_many(["job-1", "job-2"]) == {"job-1": a_job(1, progress=0.5)}
    journal.save(a_job(1, progress=0.75))
    assert await journal.get("job-1") == a_job(1, progress=0.75)
    store.gate.set()
    await flushed
    await journal.flushed()
    assert store.get("job-1") == await journal.get("job-1") == a_job(1, progress=0.75)
    assert await journal.get("job-3") is None


async def test_what_is_written_while_a_read_is_under_way_is_in_its_answer() -> None:
    """The store answers a read, then a write becomes durable, and only then the reader gets its answer."""
    store = RecordingStore()
    journal = Journal(store)
    store.write({"job-1": a_job(1)})
    answered, told = threading.Event(), threading.Event()
    read = store.get_many

    def slow_read(job_ids: Collection[str]) -> Mapping[str, Job]:
        found = read(job_ids)
        answered.set()
        told.wait(5)
        return found

    store.get_many = slow_read  # type: ignore[method-assign]
    reading = asyncio.create_task(journal.get("job-1"))
    assert await asyncio.to_thread(answered.wait, 5)
    journal.save(a_job(1, progress=0.5))
    await journal.flushed()
    assert journal.is_written("job-1")
    told.set()
    assert await reading == a_job(1, progress=0.5)


async def test_what_many_ask_for_at_once_is_one_question() -> None:
    store = RecordingStore()
    journal = Journal(store)
    store.write({f"job-{number}": a_job(number) for number in range(100)})
    questions = 0
    read = store.get_many

    def counted(job_ids: Collection[str]) -> Mapping[str, Job]:
        nonlocal questions
        questions += 1
        return read(job_ids)

    store.get_many = counted  # type: ignore[method-assign]
    found = await asyncio.gather(*(journal.get(f"job-{number}") for number in range(100)))
    assert found == [a_job(number) for number in range(100)]
    assert questions <= 2


def again(number: int, client: str, key: str) -> NewJob:
    return NewJob(f"new-{number}", SPEC, WORK, Client(client), idempotency=IdempotencyKey(key, "any"))


async def test_an_idempotency_key_finds_the_newest_job_whether_written_or_not() -> None:
    store = RecordingStore()
    journal = Journal(store)
    first, second, third = (
        a_job(number, client="a", idempotency=IdempotencyKey("key", str(number))) for number in range(3)
    )
    store.write({first.job_id: first})
    await store.begins()
    assert await journal.earlier(again(1, "a", "key")) == first
    journal.save(second)
    assert await journal.earlier(again(2, "a", "key")) == second
    assert await journal.earlier(again(3, "b", "key")) is None
    assert await journal.earlier(again(4, "a", "other")) is None
    assert await journal.earlier(NewJob(first.job_id, SPEC, WORK)) == first
    store.gate.clear()
    flushed = asyncio.create_task(journal.flushed())
    await store.begins()
    assert await journal.earlier(again(5, "a", "key")) == second
    journal.save(third)
    assert await journal.earlier(again(6, "a", "key")) == third
    journal.save(changed := second.with_(progress=0.5))
    journal.delete(third.job_id)
    assert await journal.earlier(again(7, "a", "key")) == changed
    store.gate.set()
    await flushed
    await journal.flushed()
    assert await journal.earlier(again(8, "a", "key")) == changed


async def test_callers_who_look_up_keys_at_once_get_the_jobs_of_their_own_keys() -> None:
    store = MemoryJobStore()
    journal = Journal(store)
    jobs = [
        a_job(number, client="me", idempotency=IdempotencyKey(f"key-{number}", "")) for number in range(3)
    ]
    store.write({job.job_id: job for job in jobs[:2]})
    new = [
        NewJob(f"new-{number}", SPEC, WORK, Client("me"), idempotency=job.idempotency)
        for number, job in enumerate(jobs)
    ]
    found = await asyncio.gather(*map(journal.earlier, new), journal.with_key("you", "key-0"))
    assert found == [*jobs[:2], None, None]


@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_lists_are_as_if_everything_were_written(limit: int) -> None:
    """Some jobs are written, some changed since, some deleted since, and some new."""
    chance = random.Random(limit)
    store = RecordingStore()
    journal = Journal(store)
    reference = MemoryJobStore()
    for step in range(40):
        number = chance.randrange(15)
        state = chance.choice(list(JobState))
        end = float(chance.randrange(100)) if state.is_final else None
        files = ("file",) if chance.random() < 0.5 else ()
        changed = a_job(number, client=chance.choice("ab"), state=state, finished_at=end, files=files)
        if chance.random() < 0.2:
            journal.delete(changed.job_id)
            reference.write({changed.job_id: None})
        else:
            journal.save(changed)
            reference.write({changed.job_id: changed})
        if step % 10 == 5:
            await journal.flushed()
        for client, wanted in [(None, None), ("a", None), (None, state), ("b", state)]:
            assert await journal.page(client, wanted, 12, limit) == reference.page(client, wanted, 12, limit)
        for with_files in (True, False):
            assert await journal.ended(60.0, with_files, limit) == reference.ended(60.0, with_files, limit)
        ids = [f"job-{other}" for other in range(20)]
        assert await journal.unknown(ids) == reference.unknown(ids)


class StoreDuringPages(MemoryJobStore):
    """Lets something happen after a page was read, and before its reader has it."""

    def __init__(self, jobs: int, meanwhile: Callable[[Journal], None]) -> None:
        super().__init__()
        self.write({job.job_id: job for job in map(a_job, range(jobs))})
        self.journal = Journal(self)
        self._loop = asyncio.get_running_loop()
        self._meanwhile = [meanwhile]

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        found = super().page(client, state, before, limit)
        asyncio.run_coroutine_threadsafe(self._happen(), self._loop).result(30)
        return found

    async def _happen(self) -> None:
        if self._meanwhile:
            self._meanwhile.pop()(self.journal)


def claimed(number: int) -> Job:
    return a_job(number).claimed("token", 1.0, 2.0)


async def test_a_page_that_jobs_leave_while_it_is_read_is_filled_up() -> None:
    def claim(journal: Journal) -> None:
        for number in (6, 8):
            journal.save(claimed(number))

    journal = StoreDuringPages(10, claim).journal
    page = await journal.page(None, JobState.QUEUED, 10, 4)
    assert [job.place.sequence for job in page] == [9, 7, 5, 4]


async def test_a_page_that_is_read_again_has_nothing_from_before() -> None:
    def claim(journal: Journal) -> None:
        for number in (6, 8):
            journal.save(claimed(number))

    def delete(journal: Journal) -> None:
        journal.delete("job-7")

    store = StoreDuringPages(10, delete)
    store._meanwhile.append(claim)  # with the first read; the deletion comes with the second
    page = await store.journal.page(None, JobState.QUEUED, 10, 4)
    assert [job.place.sequence for job in page] == [9, 5, 4, 3]


async def test_a_job_further_back_that_changes_during_the_read_leaves_no_gap_in_a_page() -> None:
    def change(journal: Journal) -> None:
        journal.save(claimed(8))
        journal.save(a_job(1, queued_at=5.0))

    journal = StoreDuringPages(10, change).journal
    page = await journal.page(None, JobState.QUEUED, 10, 4)
    assert [job.place.sequence for job in page] == [9, 7, 6, 5]


async def test_what_could_not_be_written_stays_and_is_written_with_the_next() -> None:
    store = RecordingStore(failing_write=2)
    journal = Journal(store)
    journal.save(a_job(1))
    await journal.flushed()
    journal.save(a_job(2))
    journal.save(a_job(3))
    with pytest.raises(StoreError, match="the disk is full"):
        await journal.flushed()
    assert journal.problem is not None
    assert store.get("job-2") is None
    assert await journal.get("job-2") == a_job(2)
    journal.save(a_job(3, progress=0.5))
    journal.save(a_job(4))
    await journal.flushed()
    assert journal.problem is None
    assert [store.get(f"job-{n}") for n in (1, 2, 3, 4)] == [
        a_job(1),
        a_job(2),
        a_job(3, progress=0.5),
        a_job(4),
    ]


async def test_a_store_that_failed_is_given_deletions_alone_before_the_rest() -> None:
    store = RecordingStore(failing_write=2)
    journal = Journal(store)
    journal.save(a_job(1))
    await journal.flushed()
    journal.save(a_job(2))
    journal.delete("job-1")
    with pytest.raises(StoreError):
        await journal.flushed()
    await journal.flushed()
    assert store.writes[2:] == [{"job-1": None}, {"job-2": a_job(2)}]


async def test_everybody_who_waits_for_a_failed_write_hears_of_it_and_who_comes_later_is_served() -> None:
    store = RecordingStore(seconds=0.01, failing_write=1)
    journal = Journal(store)

    async def save(number: int) -> None:
        journal.save(a_job(number))
        await journal.flushed()

    first = [asyncio.create_task(save(number)) for number in range(3)]
    await store.begins()
    second = [asyncio.create_task(save(number)) for number in range(3, 6)]
    ends = await asyncio.gather(*first, *second, return_exceptions=True)
    assert [type(end) for end in ends] == [StoreError] * 3 + [type(None)] * 3
    # The first three are included, because whoever wants them gone must delete them.
    assert store.next_sequence() == 6


@pytest.mark.parametrize("error", [StoreTakenError, StoreReplacedError])
async def test_a_store_that_is_not_the_tracker_s_any_more_gets_no_further_write(
    error: type[StoreError],
) -> None:
    store = RecordingStore(failing_write=1, error=error)
    journal = Journal(store)
    for number in range(3):
        journal.save(a_job(number))
        with pytest.raises(error):
            await journal.flushed()
    assert len(store.writes) == 1


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
    """Many callers act in random order on a slow store. Each finds its own change or a later one written."""
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


class StoreInUse(MemoryJobStore):
    """Notes whether it is closed while a read runs."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.is_closed = False

    def get_many(self, job_ids: Collection[str]) -> Mapping[str, Job]:
        self.begun.set()
        self.gate.wait(5)
        if self.is_closed:
            raise ValueError("I/O operation on closed file")
        return super().get_many(job_ids)

    def close(self) -> None:
        self.is_closed = True


async def test_a_journal_closes_its_store_after_the_read_under_way() -> None:
    store = StoreInUse()
    journal = Journal(store)
    reading = asyncio.create_task(journal.get("job-1"))
    assert await asyncio.to_thread(store.begun.wait, 5)
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0.01)
    assert not store.is_closed
    store.gate.set()
    await closing
    assert store.is_closed
    assert await reading is None


async def test_a_closed_journal_refuses_calls_as_a_store_that_is_away() -> None:
    journal = Journal(MemoryJobStore())
    journal.save(a_job(1))
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    for _ in range(2):  # While the journal closes, and once it is closed.
        for call in (
            journal.get("job-1"),
            journal.page(None, None, 10, 10),
            journal.change_store(lambda store: store.secret()),
            journal.flushed(),
        ):
            with pytest.raises(StoreError):
                await call
        await closing
