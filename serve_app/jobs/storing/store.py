"""The job store: the protocol, its errors, and a store in memory."""

import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.usage import Usage, UsageKey, added_by

SECRET_BYTES = 32
TAKEN_OVER = "{store}: another job tracker has opened this store since, and only the last one may write"

REPLACED = "{store}: the store was emptied, restored or written by another job tracker since it was read"

ClientKey = tuple[str, str]
"""A client's name and its idempotency key."""


class StoreError(Exception):
    """A read or write failed: the store is full, locked or out of reach. Trying again may help."""


class StoreTakenError(StoreError):
    """Another job tracker has taken the store over: this one can never write again, and must end."""


class StoreReplacedError(StoreError):
    """The store differs from what was read from it, so the tracker must read it again.

    It was emptied or restored from a backup, or another tracker wrote before this one could take it over.
    """


def check_owner(store: str, stored_epoch: int, epoch: int, is_mine: bool, is_as_read: bool) -> None:
    """Raise StoreTakenError or StoreReplacedError if a tracker may not write.

    `epoch` is the one that the tracker knows, `is_mine` tells whether it took the store over with that epoch,
    and `is_as_read` whether nobody else has written since it read the store.
    """
    if is_mine and stored_epoch > epoch:
        raise StoreTakenError(TAKEN_OVER.format(store=store))
    if stored_epoch != epoch or not (is_mine or is_as_read):
        raise StoreReplacedError(REPLACED.format(store=store))


def changes_of(before: Job | None, after: Job) -> dict[UsageKey, Usage]:
    """Return what a store adds to the usage where it writes a record in the place of another one."""
    return added_by(after.client, before.counted if before else None, after.counted)


@dataclass(frozen=True)
class SetAside:
    """A record that could not be read. It is kept unchanged, apart from the jobs."""

    job_id: str
    state: str
    """The state that the job was listed under; "" if unknown."""
    reason: str
    record: bytes


class JobStore(Protocol):
    """Records by job id. All methods block and raise StoreError; reads may run during a write.

    Only one tracker writes at a time: the last one that opened the store. Writes of an earlier one raise
    StoreTakenError from then on. A store that is full when it is opened is taken over by the first write of a
    record that it accepts; if another tracker has written meanwhile, that raises StoreReplacedError.
    `check_owner` raises what a write would. A job's id, sequence, client and idempotency key never change.

    A record that cannot be read is left out of every answer and noted; `set_aside` moves the noted ones away.
    """

    def write(self, changes: Mapping[str, Job | None]) -> None:
        """Insert, replace or delete (None) records by id: all or none, durable when this returns.

        A record says what its job added to the usage of its client (`Job.counted`). The difference between
        this share and the one in the record that is replaced is added to the usage in the same transaction;
        deleting a record leaves the usage as it is. A full store accepts a write that only deletes.
        """

    def check_owner(self) -> None:
        """Raise StoreTakenError or StoreReplacedError if this tracker may not write; nothing is written."""

    def get(self, job_id: str) -> Job | None: ...

    def get_many(self, job_ids: Collection[str]) -> Mapping[str, Job]:
        """Return the records of those ids that have one, in one query."""

    def unsettled_jobs(self) -> Iterator[Job]:
        """Return all jobs that are not settled, by sequence: a restarted tracker needs them."""

    def next_sequence(self) -> int:
        """Return one more than the largest sequence ever written; 0 at first."""

    def counts(self) -> Mapping[JobState, int]:
        """Return the number of jobs by state."""

    def stored_bytes(self) -> Mapping[str, int]:
        """Return the sum of `stored_bytes` by client, without clients of 0 bytes."""

    def find(self, client: str, idempotency_key: str) -> Job | None:
        """Return the newest job that a client submitted under an idempotency key."""

    def find_many(self, keys: Collection[ClientKey]) -> Mapping[ClientKey, Job]:
        """Return the newest job of each client and key that has one."""

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        """Return a client's jobs (None: all clients') with a sequence below `before`, newest first."""

    def ended(self, before: float, with_files: bool, limit: int) -> list[Job]:
        """Return settled jobs that ended before a time, oldest first; `with_files`: only those with files."""

    def kept_until(self, before: float, limit: int) -> list[Job]:
        """Return settled jobs whose `keep_until` is before a time, earliest first."""

    def states(self, first: int, after: int) -> list[tuple[int, str, JobState]]:
        """Return (sequence, id, state) of the jobs with sequences from `first` to before `after`.

        Records are not read, so those that cannot be read are among them.
        """

    def usage(self, client: str | None, first: str, last: str) -> Mapping[UsageKey, Usage]:
        """Return the usage of a client (None: of all clients) on the days from `first` to `last`."""

    def forget_usage(self, before: str) -> None:
        """Delete the usage of the days before a day."""

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        """Return those of these ids that have no record, not even one that was set aside."""

    def noted_unreadable(self) -> int:
        """Return the number of records noted as unreadable since the last `set_aside`."""

    def set_aside(self) -> list[SetAside]:
        """Move the records noted as unreadable away from the jobs; return those that were moved."""

    def aside(self) -> list[SetAside]:
        """Return all records that were set aside."""

    def take_back(self) -> list[str]:
        """Restore the jobs of records set aside that this release can read; return their ids."""

    def secret(self) -> bytes:
        """Return 32 random bytes, the same ones while the store lives."""

    def mode(self) -> Mode:
        """Return the mode that was set last; `Mode.OPEN` at first."""

    def set_mode(self, mode: Mode) -> None:
        """Store the mode; durable when this returns."""

    def client_notes(self) -> Mapping[str, str]:
        """Return what was noted about clients, by client."""

    def note_client(self, client: str, note: str | None) -> None:
        """Store a text about a client, or delete it; durable when this returns."""

    def erase_deleted(self) -> bool:
        """Remove from the store's files what was deleted or replaced; False if that must be tried again."""

    def close(self) -> None:
        """Close the store after the write under way; later writes raise StoreError."""


class MemoryJobStore:
    """A store in this process, for tests and as the reference for other stores.

    Most answers take a scan of all records.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._usage: dict[UsageKey, Usage] = {}
        self._next_sequence = 0
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._mode = Mode.OPEN
        self._client_notes: dict[str, str] = {}

    def write(self, changes: Mapping[str, Job | None]) -> None:
        with self._lock:
            for job_id, job in changes.items():
                if job is None:
                    self._jobs.pop(job_id, None)
                else:
                    before = self._jobs.get(job_id)
                    for key, more in changes_of(before, job).items():
                        self._usage[key] = self._usage.get(key, Usage()) + more
                    self._jobs[job_id] = job
                    self._next_sequence = max(self._next_sequence, job.place.sequence + 1)

    def check_owner(self) -> None:
        """Do nothing: no other process can open this store."""

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def get_many(self, job_ids: Collection[str]) -> Mapping[str, Job]:
        return {job_id: job for job_id in job_ids if (job := self._jobs.get(job_id))}

    def unsettled_jobs(self) -> Iterator[Job]:
        return iter([job for job in self._all() if not job.is_settled])

    def next_sequence(self) -> int:
        return self._next_sequence

    def counts(self) -> Mapping[JobState, int]:
        states = [job.state for job in self._all()]
        return {state: states.count(state) for state in JobState}

    def stored_bytes(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for job in self._all():
            if job.stored_bytes:
                found[job.client] = found.get(job.client, 0) + job.stored_bytes
        return found

    def find(self, client: str, idempotency_key: str) -> Job | None:
        for job in reversed(self._all()):
            if job.client == client and job.idempotency and job.idempotency.key == idempotency_key:
                return job
        return None

    def find_many(self, keys: Collection[ClientKey]) -> Mapping[ClientKey, Job]:
        return {key: job for key in keys if (job := self.find(*key))}

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        return [
            job
            for job in reversed(self._all())
            if client in {None, job.client} and state in {None, job.state} and job.place.sequence < before
        ][:limit]

    def ended(self, before: float, with_files: bool, limit: int) -> list[Job]:
        ended = [
            (job.finished_at, job.place.sequence, job)
            for job in self._all()
            if job.is_settled and job.finished_at is not None and job.finished_at < before
        ]
        return [job for _, _, job in sorted(ended) if job.files or not with_files][:limit]

    def kept_until(self, before: float, limit: int) -> list[Job]:
        kept = [
            (job.keep_until, job.place.sequence, job)
            for job in self._all()
            if job.is_settled and job.keep_until is not None and job.keep_until < before
        ]
        return [job for _, _, job in sorted(kept)][:limit]

    def states(self, first: int, after: int) -> list[tuple[int, str, JobState]]:
        return [
            (job.place.sequence, job.job_id, job.state)
            for job in self._all()
            if first <= job.place.sequence < after
        ]

    def usage(self, client: str | None, first: str, last: str) -> Mapping[UsageKey, Usage]:
        with self._lock:
            return {
                (day, name): usage
                for (day, name), usage in self._usage.items()
                if first <= day <= last and client in {None, name}
            }

    def forget_usage(self, before: str) -> None:
        with self._lock:
            self._usage = {key: usage for key, usage in self._usage.items() if key[0] >= before}

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        return set(job_ids) - self._jobs.keys()

    def noted_unreadable(self) -> int:
        return 0  # records are kept as objects, so all are readable

    def set_aside(self) -> list[SetAside]:
        return []

    def aside(self) -> list[SetAside]:
        return []

    def take_back(self) -> list[str]:
        return []

    def secret(self) -> bytes:
        return self._secret

    def mode(self) -> Mode:
        return self._mode

    def set_mode(self, mode: Mode) -> None:
        self._mode = mode

    def client_notes(self) -> Mapping[str, str]:
        return dict(self._client_notes)

    def note_client(self, client: str, note: str | None) -> None:
        self._client_notes.pop(client, None)
        if note is not None:
            self._client_notes[client] = note

    def erase_deleted(self) -> bool:
        return True  # it has no files

    def close(self) -> None:
        """Do nothing."""

    def _all(self) -> list[Job]:
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.place.sequence)
