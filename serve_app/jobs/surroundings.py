"""The things that a tracker's process gets from outside: clocks, store, storage, disks and the network.

`tests/simulation` gives others, with which a whole history of faults passes in a few milliseconds.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import httpx

from serve_app.jobs.clocks import Clock
from serve_app.jobs.housekeeping.ages import steady_seconds
from serve_app.jobs.storing.store import JobStore
from serve_app.storage import AudioStorage


@dataclass(frozen=True)
class Surroundings:
    """Those of a process on a real machine."""

    wall: Clock = time.time
    steady: Clock = time.monotonic
    machine: Clock = steady_seconds
    """A clock that cannot be set and goes on while no tracker runs; the janitor's ages are measured by it."""
    open_store: Callable[[str], JobStore] | None = None
    """Opens `jobs.store` of the settings. Blocks. Raises StoreError. None: `storing.stores.open_store`."""
    open_storage: Callable[[str], AudioStorage] = AudioStorage
    """Opens `storage.uri` of the settings."""
    free_bytes: Callable[[Collection[Path]], int | None] | None = None
    """Returns the free bytes of the fullest disk of some folders. Blocks. Raises OSError. None:
    `storing.disk.free_bytes`."""
    callbacks: httpx.AsyncBaseTransport | None = None
    """Carries callbacks to their receivers; None: real connections, as the settings say."""


REAL = Surroundings()
