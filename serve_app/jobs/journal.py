"""Records on their way to the store: those of one moment are written together (group commit)."""

import asyncio

from serve_app.jobs.model import Job
from serve_app.jobs.store import JobStore, StoreError


class Journal:
    """What the tracker reads and writes without waiting; `flushed` says when it is durable.

    After a write that failed all others fail: what is stored stays one moment of one tracker's life.
    """

    def __init__(self, store: JobStore) -> None:
        self.store = store
        """For reads of more than one record, after `flushed`."""
        self._pending: dict[str, Job | None] = {}
        self._writing: dict[str, Job | None] = {}
        self._write: asyncio.Task[None] | None = None
        self._next_write: asyncio.Task[None] | None = None
        self._broken = False

    def save(self, job: Job) -> None:
        """Insert or replace one record."""
        self._pending[job.job_id] = job

    def delete(self, job_id: str) -> None:
        self._pending[job_id] = None

    def get(self, job_id: str) -> Job | None:
        """The newest record of an id, written or not. Raises StoreError."""
        for changes in (self._pending, self._writing):
            if job_id in changes:
                return changes[job_id]
        return self.store.get(job_id)

    def find(self, client: str, idempotency_key: str) -> Job | None:
        """The newest job that a client submitted under a key, written or not. Raises StoreError."""
        found = [self.store.find(client, idempotency_key), *self._pending.values(), *self._writing.values()]
        newest = max(
            (job for job in found if job and job.client == client and _has_key(job, idempotency_key)),
            key=lambda job: job.place.sequence,
            default=None,
        )
        return newest and self.get(newest.job_id)

    async def flushed(self) -> None:
        """Return once everything saved so far is durable. Raises StoreError where it could not be written."""
        if self._pending and self._next_write is None:
            self._next_write = asyncio.create_task(self._write_after(self._write))
        if last := self._next_write or self._write:
            await asyncio.shield(last)

    async def _write_after(self, other: asyncio.Task[None] | None) -> None:
        if other is not None:
            await asyncio.wait([other])
        self._write, self._next_write = self._next_write, None
        self._writing, self._pending = self._pending, {}
        try:
            if self._broken:
                raise StoreError("an earlier write failed")
            await asyncio.to_thread(self.store.write, self._writing)
        except BaseException:
            self._broken = True
            raise
        finally:
            self._writing = {}


def _has_key(job: Job, idempotency_key: str) -> bool:
    return job.idempotency is not None and job.idempotency.key == idempotency_key
