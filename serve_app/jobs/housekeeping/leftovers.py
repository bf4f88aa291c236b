"""Folders of the storage without a record in this store, and the stores that they belong to.

Each store that uses a storage signs in every few minutes. Folders of a store that still signs in are left to
it. Folders of a store that does not are unowned: the store was lost or emptied, or its server is off.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from deployments.common.errors import StorageError
from serve_app.jobs.housekeeping.ages import RetentionClock, boot_id
from serve_app.jobs.housekeeping.identity import store_of
from serve_app.storage import AudioStorage

logger = logging.getLogger("ray.serve")

EARLIER_RELEASE = "earlier-release"
"""Stands for the store's name if a job id has none."""
SILENT_SECONDS = 3600.0
"""A store that has not signed in for this long is not in use."""


@dataclass(frozen=True)
class Leftovers:
    """Folders without a record in this store."""

    store: str
    """The name of this store."""
    abandoned: tuple[str, ...] = ()
    """Job ids of this store, of requests that were never submitted or are just being submitted."""
    neighbours: dict[str, int] = field(default_factory=dict)
    """Number of folders by other store that is in use."""
    unowned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Job ids by other store that is not in use."""

    @property
    def unowned_folders(self) -> int:
        return sum(map(len, self.unowned.values()))


def survey(storage: AudioStorage, store: str, unknown: Iterable[str]) -> Leftovers:
    """Group folders without a record by their store. Blocks. Raises StorageError."""
    sign_ins = storage.sign_ins()
    # Sign-ins are stamped by the storage's own clock. This store has just signed in, so the newest is now.
    now = max(sign_ins.values(), default=0.0)
    in_use = {name for name, at in sign_ins.items() if now - at < SILENT_SECONDS}
    folders: dict[str, list[str]] = {}
    for job_id in unknown:
        folders.setdefault(store_of(job_id) or EARLIER_RELEASE, []).append(job_id)
    return Leftovers(
        store,
        tuple(folders.pop(store, ())),
        {name: len(job_ids) for name, job_ids in folders.items() if name in in_use},
        {name: tuple(job_ids) for name, job_ids in folders.items() if name not in in_use},
    )


def sign_in(storage: AudioStorage, store: str, clock: RetentionClock) -> bool:
    """Note in the storage that this store uses it, with the clock's offset for the next process.

    Return whether this is the first time. Blocks. Raises StorageError if the storage cannot be read. If it
    cannot be written, it may be full, and the sweep that makes room must go on.
    """
    boot, note = boot_id(), storage.note_of(store)
    if clock.is_new and boot:
        clock.remember(_offset(note, boot))
    offset = clock.offset
    try:
        storage.sign_in(store, json.dumps({"boot": boot, "clock_offset": offset}).encode())
        clock.handed_on = offset
    except StorageError as error:
        logger.error("the job store %s could not sign in to the storage; trying again: %s", store, error)
    return note is None


def _offset(note: bytes | None, boot: str) -> float | None:
    """Return the offset of an earlier process's clock; None if that ran before the machine was started."""
    try:
        found = json.loads(note or b"{}")
        return float(found["clock_offset"]) if found["boot"] == boot else None
    except (ValueError, TypeError, KeyError):
        return None
