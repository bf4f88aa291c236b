"""Where the tracker's records outlive it."""

import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Job, JobState

SECRET_BYTES = 32
TAKEN_OVER = "{store}: another job tracker has opened this store since, and only the last one may write"

REPLACED = "{store}: the store was emptied, restored or written by another job tracker since it was read"

ClientKey = tuple[str, str]
"""A client's name and its idempotency key."""


class StoreError(Exception):
    """The store did not take or give a record: it is full, locked or out of reach. Trying again may help."""


class StoreTakenError(StoreError):
    """Another job tracker has taken the store over: this one may never write again, and must end."""


class StoreReplacedError(StoreError):
    """The store holds something else than what was read from it: the tracker must begin anew from it.

    It was emptied or restored from a backup, or another tracker wrote before this one could take it over.
    """


def check_owner(store: str, stored_epoch: int, epoch: int, is_mine: bool, is_as_read: bool) -> None:
    """Raise where a tracker may not write.

    `epoch` is the one that it knows, `is_mine` whether it took the store over with it, and `is_as_read`
    whether nobody else has written since it read the store.
    """
    if is_mine and stored_epoch > epoch:
        raise StoreTakenError(TAKEN_OVER.format(store=store))
    if stored_epoch != epoch or not (is_mine or is_as_read):
        raise StoreReplacedError(REPLACED.format(store=store))


@dataclass(frozen=True)
class SetAside:
    """A record that could not be read: it is kept apart from the jobs, as it was."""

    job_id: str
    state: str
    """The state that the job was listed under; "" where that is not known."""
    reason: str
    record: bytes


class JobStore(Protocol):
    """Records by job id. All methods block and raise StoreError; reads may run beside one write.

    One tracker writes at a time. A store that can be opened by two lets the later one win: writes of the
    earlier raise StoreTakenError from then on. A store that is full when it is opened is taken over by the
    first write of a record that it accepts; where another tracker has written meanwhile, that raises
    StoreReplacedError. A job's id, sequence, client and idempotency key never change.

    A record that cannot be read is left out of every answer and noted; `set_aside` moves the noted ones away.
    """

    def write(self, changes: Mapping[str, Job | None]) -> None:
        """Insert or replace records by id, or delete them (None): all or none, durable when this returns.

        A write that only deletes is also accepted by a store that has no room.
        """

    def get(self, job_id: str) -> Job | None: ...

    def get_many(self, job_ids: Collection[str]) -> Mapping[str, Job]:
        """The records of those ids that have one, in one query."""

    def unsettled_jobs(self) -> Iterator[Job]:
        """Every job with `is_open`, in order of sequence: what a restarted tracker goes on with."""

    def next_sequence(self) -> int:
        """One more than the largest sequence ever written; 0 at first."""

    def counts(self) -> Mapping[JobState, int]:
        """Jobs by state."""

    def stored_bytes(self) -> Mapping[str, int]:
        """The sum of `stored_bytes` by client, where it is not 0."""

    def find(self, client: str, idempotency_key: str) -> Job | None:
        """The newest job that a client submitted under a key."""

    def find_many(self, keys: Collection[ClientKey]) -> Mapping[ClientKey, Job]:
        """The newest job of each client and key that has one."""

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        """Jobs of a client (None: of all) with a sequence below `before`, newest first."""

    def ended(self, before: float, with_files: bool, limit: int) -> list[Job]:
        """Closed jobs that ended before a time, oldest first; `with_files`: only those that have some yet."""

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        """Which of these ids have no record, not even one that was set aside."""

    def noted_unreadable(self) -> int:
        """How many records no read could make sense of since the last `set_aside`."""

    def set_aside(self) -> list[SetAside]:
        """Move the records that were noted as unreadable to a place of their own; those that were moved."""

    def aside(self) -> list[SetAside]:
        """All records that were set aside."""

    def take_back(self) -> list[str]:
        """Make jobs again of those records set aside that this release can read; their ids."""

    def secret(self) -> bytes:
        """32 random bytes that stay the same for as long as the store lives."""

    def mode(self) -> Mode:
        """What an operator last let the server do; `Mode.OPEN` at first."""

    def set_mode(self, mode: Mode) -> None:
        """A write, like those of records: durable when this returns."""

    def close(self) -> None:
        """Let go of the store, after a write that is running; writes that come later raise StoreError."""


class MemoryJobStore:
    """Records in this process; they end with it. For tests, and the reference for other stores.

    It looks through all records for most answers.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._next_sequence = 0
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._mode = Mode.OPEN

    def write(self, changes: Mapping[str, Job | None]) -> None:
        with self._lock:
            for job_id, job in changes.items():
                if job is None:
                    self._jobs.pop(job_id, None)
                else:
                    self._jobs[job_id] = job
                    self._next_sequence = max(self._next_sequence, job.place.sequence + 1)

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

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        return set(job_ids) - self._jobs.keys()

    def noted_unreadable(self) -> int:
        return 0  # these records were never written as text

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

    def close(self) -> None:
        """Nothing to let go of."""

    def _all(self) -> list[Job]:
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.place.sequence)
