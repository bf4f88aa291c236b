"""Jobs as the stores keep them: JSON, with the version of its layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from serve_app.jobs.model import Job
from serve_app.jobs.store import StoreError

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""A job's JSON object in one layout -> in the next."""

UPGRADES: tuple[Upgrade, ...] = ()
"""From layout 1 to 2, from 2 to 3 … Fields that are new and have a default need none."""


@dataclass(frozen=True)
class _Record:
    version: int
    job: Job


_RECORDS = TypeAdapter(_Record)


def job_to_json(job: Job, upgrades: Sequence[Upgrade] = UPGRADES) -> bytes:
    """A record in the newest layout. Raises StoreError where the job holds what JSON can't."""
    try:
        return _RECORDS.dump_json(_Record(len(upgrades) + 1, job))
    except PydanticSerializationError as error:
        raise StoreError(f"job {job.job_id} can't be written as JSON: {error}") from error


def job_from_json(record: bytes | str, upgrades: Sequence[Upgrade] = UPGRADES) -> Job:
    """The job of a record in this or an earlier layout. Raises StoreError where it is newer or damaged."""
    newest = len(upgrades) + 1
    try:
        found = from_json(record)
        version, job = found["version"], found["job"]
        if version <= newest:
            for upgrade in upgrades[version - 1 :]:
                job = upgrade(job)
            return _RECORDS.validate_python({"version": newest, "job": job}).job
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"a job's record can't be read: {error}") from error
    raise StoreError(newer_version(f"the record of job {job.get('job_id')}", version, newest))


def newer_version(what: str, found: int, newest: int) -> str:
    """Why something that a later release wrote is not read."""
    return (
        f"{what} has version {found}, this server knows versions up to {newest}: run the release that wrote "
        "it, or a later one"
    )
