"""What lies in the storage that no record of this store knows, and whose it is.

Each store that uses a storage signs in every few minutes. Folders of a store that still does are its own
affair. Folders of one that does not belong to nobody: the store was lost or emptied, or its server is off.
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
"""In the place of a store's name, for ids that say none."""
SILENT_SECONDS = 3600.0
"""A store that has not signed in for so long is not in use."""


@dataclass(frozen=True)
class Leftovers:
    """Folders without a record in this store."""

    store: str
    """The name of this store."""
    abandoned: tuple[str, ...] = ()
    """Job ids of this store: of requests that never came into line, or that are just coming."""
    neighbours: dict[str, int] = field(default_factory=dict)
    """How many folders each other store has that is in use."""
    unowned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Job ids of each other store that is not in use."""

    @property
    def unowned_folders(self) -> int:
        return sum(map(len, self.unowned.values()))


def survey(storage: AudioStorage, store: str, unknown: Iterable[str]) -> Leftovers:
    """Tell whose each folder is. Blocks. Raises StorageError."""
    sign_ins = storage.sign_ins()
    # By the storage's own clock: the newest of them is this store's, or a neighbour's of this minute.
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
    """Say that this store uses the storage, and hand the clock on to the next process.

    Whether it is the first time. Blocks. Raises StorageError where the storage cannot be read. A storage that
    takes no file may be full: then room has to be made all the same.
    """
    boot, note = boot_id(), storage.note_of(store)
    if clock.is_new and boot:
        clock.remember(_offset(note, boot))
    try:
        storage.sign_in(store, json.dumps({"boot": boot, "clock_offset": clock.offset}).encode())
    except StorageError:
        logger.exception("the job store %s could not sign in to the storage; trying again", store)
    return note is None


def _offset(note: bytes | None, boot: str) -> float | None:
    """How far ahead the clock of an earlier process was, where that ran since the machine was started."""
    try:
        found = json.loads(note or b"{}")
        return float(found["clock_offset"]) if found["boot"] == boot else None
    except (ValueError, TypeError, KeyError):
        return None
