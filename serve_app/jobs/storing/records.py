"""Records as the stores keep them: JSON, with the version of its layout, and the parts that stand apart."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from serve_app.jobs.model import Checkpoint, Job
from serve_app.jobs.storing.parts import PARTS
from serve_app.jobs.storing.store import StoreError
from serve_app.request.spec import JobSpec

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Converts a job's JSON object, with its parts, from one layout to the next."""


def _unchanged(job: dict[str, Any]) -> dict[str, Any]:
    """Layout 2 stores the parts apart. Read together they are what layout 1 stored in one piece."""
    return job


UPGRADES: tuple[Upgrade, ...] = (_unchanged,)
"""From layout 1 to 2, from 2 to 3 … A new field with a default needs no upgrade."""

Parts = Mapping[str, bytes | str | None]
"""JSON by the name of the part; None where a job has none."""

NO_PARTS: Parts = {}


class RecordError(StoreError):
    """A record is damaged, or a later release wrote it. Trying again does not help."""


@dataclass(frozen=True)
class _Record:
    version: int
    job: Job


_RECORDS = TypeAdapter(_Record)
_PARTS: dict[str, TypeAdapter[Any]] = {
    "spec": TypeAdapter(JobSpec),
    "checkpoint": TypeAdapter(Checkpoint),
    "result": TypeAdapter(dict[str, Any]),
}


def record_to_json(job: Job, upgrades: Sequence[Upgrade] = UPGRADES) -> bytes:
    """Return a record without its parts, in the newest layout."""
    return _RECORDS.dump_json(_Record(len(upgrades) + 1, job), exclude={"job": set(PARTS)})


def parts_to_json(job: Job, names: Iterable[str] = PARTS) -> dict[str, str | None]:
    """Return parts of a record in the newest layout; None for an empty one.

    Raises StoreError if the job has a value that JSON lacks.
    """
    empty = {"checkpoint": Checkpoint(), "result": None}
    parts = {name: getattr(job, name) for name in names}
    try:
        return {
            name: None if name in empty and part == empty[name] else _PARTS[name].dump_json(part).decode()
            for name, part in parts.items()
        }
    except PydanticSerializationError as error:
        raise StoreError(f"job {job.job_id} can't be written as JSON: {error}") from error


def job_from_json(
    record: bytes | str, parts: Parts = NO_PARTS, upgrades: Sequence[Upgrade] = UPGRADES
) -> Job:
    """Read a record of this or an earlier layout. Raises RecordError if it is newer or damaged."""
    newest = len(upgrades) + 1
    try:
        found = from_json(record)
        version, job = found["version"], found["job"]
        job |= {name: from_json(part) for name, part in parts.items() if part is not None}
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

    def jobs(self, records: Iterable[tuple[str, bytes | str, Parts]]) -> list[Job]:
        """Read (job id, record, parts); unreadable records are left out."""
        return [job for job_id, record, parts in records if (job := self.job(job_id, record, parts))]

    def done(self, noted: Iterable[str]) -> None:
        """Remove notes about some jobs."""
        for job_id in noted:
            self.unreadable.pop(job_id, None)

    def job(self, job_id: str, record: bytes | str, parts: Parts) -> Job | None:
        """Read one record; None if it is unreadable."""
        try:
            return job_from_json(record, parts)
        except RecordError as error:
            self.unreadable[job_id] = str(error)
            return None


def _without_values(error: Exception) -> str:
    """Describe which parts of a record are wrong. This is logged, so it leaves out the users' values."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in problems[:3])
    return f"{type(error).__name__}: {error}"
