"""Writes records to the store and reads them back; changes of one moment are written together (group commit).

The store blocks, so one thread writes and another reads; the tracker's event loop never waits for either.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from serve_app.jobs.model import Job, JobState, NewJob
from serve_app.jobs.storing.store import ClientKey, JobStore, StoreError, StoreReplacedError, StoreTakenError
from serve_app.jobs.usage import Usage, UsageKey

Changes = dict[str, Job | None]
"""Records by job id; None for a deleted one."""

CLOSED = "the job store is closed"

_Answer = TypeVar("_Answer")


@dataclass
class _Lookup:
    """The look-ups of several callers, made as one query each for ids and keys."""

    job_ids: set[str] = field(default_factory=set)
    keys: set[ClientKey] = field(default_factory=set)
    answer: asyncio.Task[tuple[Mapping[str, Job], Mapping[ClientKey, Job]]] | None = None

    def ask(self, store: JobStore) -> tuple[Mapping[str, Job], Mapping[ClientKey, Job]]:
        return (
            store.get_many(self.job_ids) if self.job_ids else {},
            store.find_many(self.keys) if self.keys else {},
        )


class Journal:
    """The tracker's access to its store.

    Changes stay here until the store has them. If a write fails, all of them stay, and the next write tries
    again with everything. So the store always holds the state of one tracker at one moment, except that
    deletions may be written before it if the store is full.
    """

    def __init__(
        self, store: JobStore, before_write: Callable[["Journal"], Awaitable[None]] | None = None
    ) -> None:
        self.store = store
        """For blocking calls before the tracker's event loop runs."""
        self._before_write = before_write
        """It is awaited before each write to the store, when the changes of that write are known.

        It must not raise, because the write would fail with it.
        """
        self.problem: StoreError | None = None
        """The error of the last write; None if it succeeded."""
        self._pending: Changes = {}
        self._writing: Changes = {}
        self._reads: dict[int, Changes] = {}
        """Changes written since each read under way began, by its number: its answer may lack them."""
        self._read_count = 0
        self._lookup: _Lookup | None = None
        self._looking_up = asyncio.Lock()
        self._write: asyncio.Task[None] | None = None
        self._next_write: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, "job-store-writer")
        self._reader = ThreadPoolExecutor(1, "job-store-reader")
        self._is_closed = False

    # Changes

    def save(self, job: Job) -> None:
        """Insert or replace one record."""
        self._pending[job.job_id] = job

    def delete(self, job_id: str) -> None:
        self._pending[job_id] = None

    @property
    def unwritten(self) -> Mapping[str, Job | None]:
        """Changes that the store does not have yet."""
        return self._writing | self._pending

    def is_written(self, job_id: str) -> bool:
        """Tell whether the store has the newest record of a job."""
        return job_id not in self._pending and job_id not in self._writing

    def saved(self, job_id: str) -> Job | None:
        """Return the record of a job that is not written yet; None if there is none, or if it was deleted."""
        return self._pending[job_id] if job_id in self._pending else self._writing.get(job_id)

    async def flushed(self) -> None:
        """Return once everything saved so far is durable. Raises StoreError if it could not be written."""
        if self._pending and self._next_write is None:
            self._next_write = asyncio.create_task(self._write_after(self._write))
        if last := self._next_write or self._write:
            await asyncio.shield(last)

    async def flush_if_possible(self) -> None:
        """Write what was saved if the store takes it; else it stays for a later write."""
        if self.problem is None:
            with suppress(StoreError):
                await self.flushed()

    async def change_store(self, change: Callable[[JobStore], _Answer]) -> _Answer:
        """Run a change of the store that concerns no record, between two writes. Raises StoreError."""
        return await self._ask(self._writer, change)

    # Reads: each answers as if everything saved so far were stored. All raise StoreError.

    async def get(self, job_id: str) -> Job | None:
        """Return the newest record of an id."""
        (stored, _), changes = await self._current(self._looked_up([job_id], []))
        return changes[job_id] if job_id in changes else stored.get(job_id)

    async def get_many(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return the newest records of those ids that have one."""
        (stored, _), changes = await self._current(self._looked_up(job_ids, []))
        newest = {job_id: changes.get(job_id, stored.get(job_id)) for job_id in job_ids}
        return {job_id: job for job_id, job in newest.items() if job}

    async def earlier(self, new: NewJob) -> Job | None:
        """Return the job that already has a new job's id, or else the newest with its idempotency key."""
        keys = [(new.client.name, new.idempotency.key)] if new.idempotency else []
        (by_id, by_key), changes = await self._current(self._looked_up([new.job_id], keys))
        return changes.get(new.job_id, by_id.get(new.job_id)) or _newest_with_key(keys, by_key, changes)

    async def with_key(self, client: str, idempotency_key: str) -> Job | None:
        """Return the newest job that a client submitted under an idempotency key."""
        keys = [(client, idempotency_key)]
        (_, by_key), changes = await self._current(self._looked_up([], keys))
        return _newest_with_key(keys, by_key, changes)

    async def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        """Return a client's jobs (None: all clients') with a sequence below `before`, newest first."""
        more = limit + len(self.unwritten)  # unwritten changes may remove this many from the page
        while True:
            stored, changes = await self._read(partial(_page, client, state, before, more))
            # Changes of jobs further back say nothing about those between, which this answer does not have.
            after = stored[-1].place.sequence if len(stored) >= more else -1
            jobs = [
                job
                for job in _overlaid(stored, changes)
                if client in {None, job.client}
                and state in {None, job.state}
                and after <= job.place.sequence < before
            ]
            if len(jobs) >= limit or after < 0:
                return sorted(jobs, key=lambda job: job.place.sequence, reverse=True)[:limit]
            more = 2 * more + len(changes)  # Jobs have left the page during the read, which is made again.

    async def ended(self, before: float, with_files: bool, limit: int) -> list[Job]:
        """Return settled jobs that ended before a time, oldest first; `with_files`: only those with files."""
        more = limit + len(self.unwritten)
        stored, changes = await self._read(lambda store: store.ended(before, with_files, more))
        jobs = [
            (job.finished_at, job.place.sequence, job)
            for job in _overlaid(stored, changes)
            if job.is_settled and job.finished_at is not None and job.finished_at < before
        ]
        return [job for _, _, job in sorted(jobs) if job.files or not with_files][:limit]

    async def kept_until(self, before: float, limit: int) -> list[Job]:
        """Return settled jobs whose `keep_until` is before a time, earliest first."""
        more = limit + len(self.unwritten)
        stored, changes = await self._read(lambda store: store.kept_until(before, more))
        jobs = [
            (job.keep_until, job.place.sequence, job)
            for job in _overlaid(stored, changes)
            if job.is_settled and job.keep_until is not None and job.keep_until < before
        ]
        return [job for _, _, job in sorted(jobs)][:limit]

    async def states(self, first: int, after: int) -> dict[str, JobState]:
        """Return ids and states of the jobs with sequences from `first` to before `after`, in their order."""
        stored, changes = await self._read(lambda store: store.states(first, after))
        newest = {job_id: (sequence, state) for sequence, job_id, state in stored if job_id not in changes}
        newest |= {
            job.job_id: (job.place.sequence, job.state)
            for job in changes.values()
            if job and first <= job.place.sequence < after
        }
        return {job_id: state for job_id, (_, state) in sorted(newest.items(), key=lambda found: found[1][0])}

    async def usage(self, client: str | None, first: str, last: str) -> Mapping[UsageKey, Usage]:
        """Return the usage of some days that the store has; ends that are not written yet are not in it."""
        return (await self._read(lambda store: store.usage(client, first, last)))[0]

    async def unknown(self, job_ids: Collection[str]) -> set[str]:
        """Return those of these ids that have no record."""
        stored, changes = await self._read(lambda store: store.unknown(job_ids))
        gone = {job_id for job_id in job_ids if job_id in changes and changes[job_id] is None}
        return gone | (stored - changes.keys())

    async def close(self) -> None:
        """Close the store after the calls under way. Later reads and writes raise StoreError."""
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(self._writer, self._close_store)
        self._writer.shutdown(wait=False)

    def _close_store(self) -> None:
        """Block until the reads under way have ended, and close the store."""
        self._reader.shutdown(wait=True)
        self.store.close()

    async def _read(self, ask: Callable[[JobStore], _Answer]) -> tuple[_Answer, Changes]:
        return await self._current(self._ask(self._reader, ask))

    async def _ask(self, thread: ThreadPoolExecutor, ask: Callable[[JobStore], _Answer]) -> _Answer:
        """Return the store's answer to a question that a thread asks. Raises StoreError."""
        if self._is_closed:
            raise StoreError(CLOSED)
        return await asyncio.get_running_loop().run_in_executor(thread, ask, self.store)

    async def beside(self, work: Awaitable[_Answer]) -> tuple[_Answer, Changes]:
        """Return the result of work, and all changes that records may lack which were read before it."""
        return await self._current(work)

    async def _current(self, reading: Awaitable[_Answer]) -> tuple[_Answer, Changes]:
        """Return the store's answer, and all changes that it may lack."""
        self._read_count += 1
        number, since = self._read_count, Changes()
        self._reads[number] = since
        try:
            answer = await reading
        finally:
            del self._reads[number]
        return answer, since | self._writing | self._pending

    async def _looked_up(
        self, job_ids: Iterable[str], keys: Iterable[ClientKey]
    ) -> tuple[Mapping[str, Job], Mapping[ClientKey, Job]]:
        """Read some records, together with those that other callers want at the moment."""
        if self._lookup is None:
            self._lookup = _Lookup()
            self._lookup.answer = asyncio.create_task(self._look_up(self._lookup))
            self._lookup.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        lookup = self._lookup
        lookup.job_ids.update(job_ids)
        lookup.keys.update(keys)
        assert lookup.answer is not None
        return await asyncio.shield(lookup.answer)

    async def _look_up(self, lookup: _Lookup) -> tuple[Mapping[str, Job], Mapping[ClientKey, Job]]:
        async with self._looking_up:
            self._lookup = None  # later callers wait for the next one
            return await self._ask(self._reader, lookup.ask)

    async def _write_after(self, other: asyncio.Task[None] | None) -> None:
        if other is not None:
            await asyncio.wait([other])
        self._write, self._next_write = self._next_write, None
        self._writing, self._pending = self._pending, {}
        try:
            if isinstance(self.problem, StoreTakenError | StoreReplacedError):
                raise self.problem
            if self._before_write is not None:
                await self._before_write(self)
            if self.problem is not None:
                await self._delete_first()
            await self._store(self._writing)
        except BaseException as error:
            self._pending = self._writing | self._pending
            known = error if isinstance(error, StoreError) else None
            self.problem = known or StoreError(f"a write failed: {error!r}")
            raise
        else:
            self.problem = None
        finally:
            self._writing = {}

    async def _delete_first(self) -> None:
        """Write the deletions alone: a full store accepts them, and then has room for the other changes."""
        gone: Changes = {job_id: None for job_id, job in self._writing.items() if job is None}
        if 0 < len(gone) < len(self._writing):
            await self._store(gone)
            self._writing = {job_id: job for job_id, job in self._writing.items() if job}

    async def _store(self, changes: Changes) -> None:
        await self._ask(self._writer, lambda store: store.write(changes))
        for since in self._reads.values():
            since |= changes


def _page(client: str | None, state: JobState | None, before: int, limit: int, store: JobStore) -> list[Job]:
    return store.page(client, state, before, limit)


def _client_key(job: Job) -> ClientKey | None:
    return (job.client, job.idempotency.key) if job.idempotency else None


def _newest_with_key(
    keys: Collection[ClientKey], stored: Mapping[ClientKey, Job], changes: Changes
) -> Job | None:
    """Return the newest record of the newest job that has one of the keys.

    `stored` also has jobs of keys that other callers looked up at the same time.
    """
    found = [job for key, job in stored.items() if key in keys]
    found += [job for job in changes.values() if job and _client_key(job) in keys]
    newest = max(found, key=lambda job: job.place.sequence, default=None)
    return newest and changes.get(newest.job_id, newest)


def _overlaid(stored: Iterable[Job], changes: Changes) -> list[Job]:
    """Apply changes to records, in no order; changed records that are not in `stored` are added."""
    newest: Changes = {job.job_id: job for job in stored}
    newest |= changes
    return [job for job in newest.values() if job]
