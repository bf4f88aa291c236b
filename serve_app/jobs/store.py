"""Where the tracker keeps its records."""

from collections.abc import Iterator
from typing import Protocol

from serve_app.jobs.model import Job


class JobStore(Protocol):
    """Records by job id. Every write is complete when the call returns."""

    def save(self, job: Job) -> None:
        """Insert or replace one record."""

    def get(self, job_id: str) -> Job | None: ...

    def jobs(self) -> Iterator[Job]:
        """Every record, oldest first: what a restarted tracker rebuilds its line from."""


class MemoryJobStore:
    """Records in this process; they end with it."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def save(self, job: Job) -> None:
        self._jobs[job.job_id] = job

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def jobs(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))
