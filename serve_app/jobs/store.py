"""Where the tracker's records outlive it."""

import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Job, JobState

SECRET_BYTES = 32
TAKEN_OVER = "{store}: another job tracker has opened this store since, and only the last one may write"


class StoreError(Exception):
    """The store did not take or give a record: it is full, locked or out of reach. Trying again may help."""


class JobStore(Protocol):
    """Records by job id. All methods block and raise StoreError; reads may run beside one write.

    One tracker writes at a time. A store that can be opened by two lets the later one win: writes of the
    earlier raise StoreError from then on. A job's id, sequence, client and idempotency key never change.
    """

    def write(self, changes: Mapping[str, Job | None]) -> None:
        """Insert or replace records by id, or delete them (None): all or none, durable when this returns."""

    def get(self, job_id: str) -> Job | None: ...

    def open_jobs(self) -> Iterator[Job]:
        """Every job with `is_open`, in order of sequence: what a restarted tracker goes on with."""

    def next_sequence(self) -> int:
        """One more than the largest sequence ever written; 0 at first."""

    def counts(self) -> Mapping[JobState, int]:
        """Jobs by state."""

    def stored_bytes(self) -> Mapping[str, int]:
        """The sum of `stored_bytes` by client, where it is not 0."""

    def find(self, client: str, idempotency_key: str) -> Job | None:
        """The newest job that a client submitted under a key."""

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        """Jobs of a client (None: of all) with a sequence below `before`, newest first."""

    def ended(self, before: float, with_files: bool, limit: int) -> list[Job]:
        """Closed jobs that ended before a time, oldest first; `with_files`: only those that have some yet."""

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        """Which of these ids have no record."""

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

    def open_jobs(self) -> Iterator[Job]:
        return iter([job for job in self._all() if job.is_open])

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
            if not job.is_open and job.finished_at is not None and job.finished_at < before
        ]
        return [job for _, _, job in sorted(ended) if job.files or not with_files][:limit]

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        return set(job_ids) - self._jobs.keys()

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
