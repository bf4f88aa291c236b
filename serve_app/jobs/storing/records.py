"""Records as the stores keep them: JSON, with the version of its layout."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from serve_app.jobs.model import Job
from serve_app.jobs.storing.store import StoreError

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Converts a job's JSON object from one layout to the next."""

UPGRADES: tuple[Upgrade, ...] = ()
"""From layout 1 to 2, from 2 to 3 … A new field with a default needs no upgrade."""


class RecordError(StoreError):
    """A record is damaged, or a later release wrote it. Trying again does not help."""


@dataclass(frozen=True)
class _Record:
    version: int
    job: Job


_RECORDS = TypeAdapter(_Record)


def job_to_json(job: Job, upgrades: Sequence[Upgrade] = UPGRADES) -> bytes:
    """Return a record in the newest layout. Raises StoreError if the job has a value that JSON lacks."""
    try:
        return _RECORDS.dump_json(_Record(len(upgrades) + 1, job))
    except PydanticSerializationError as error:
        raise StoreError(f"job {job.job_id} can't be written as JSON: {error}") from error


def job_from_json(record: bytes | str, upgrades: Sequence[Upgrade] = UPGRADES) -> Job:
    """Read a record of this or an earlier layout. Raises RecordError if it is newer or damaged."""
    newest = len(upgrades) + 1
    try:
        found = from_json(record)
        version, job = found["version"], found["job"]
        if version <= newest:
            for upgrade in upgrades[version - 1 :]:
                job = upgrade(job)
            return _RECORDS.validate_python({"version": newest, "job": job}).job
        job_id = job["job_id"]
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        raise RecordError(f"a job's record can't be read: {_without_values(error)}") from error
    raise RecordError(newer_version(f"the record of job {job_id}", version, newest))


def newer_version(what: str, found: int, newest: int) -> str:
    """Return the message for data of a later release."""
    return (
        f"{what} has version {found}, this server knows versions up to {newest}: run the release that wrote "
        "it, or a later one"
    )


class RecordReader:
    """Reads records, and notes those that it cannot read: the reason by job id."""

    def __init__(self) -> None:
        self.unreadable: dict[str, str] = {}

    def jobs(self, records: Iterable[tuple[str, bytes | str]]) -> list[Job]:
        """Read (job id, record) pairs; unreadable records are left out."""
        return [job for job_id, record in records if (job := self.job(job_id, record))]

    def done(self, noted: Iterable[str]) -> None:
        """Remove notes about some jobs."""
        for job_id in noted:
            self.unreadable.pop(job_id, None)

    def job(self, job_id: str, record: bytes | str) -> Job | None:
        """Read one record; None if it is unreadable."""
        try:
            return job_from_json(record)
        except RecordError as error:
            self.unreadable[job_id] = str(error)
            return None


def _without_values(error: Exception) -> str:
    """Describe which parts of a record are wrong. This is logged, so it leaves out the users' values."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in problems[:3])
    return f"{type(error).__name__}: {error}"
