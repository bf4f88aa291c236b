"""Latents in Ray's object store, from which another replica reads them.

A message holds a reference of a few hundred bytes. The array moves once, from the node of the replica that
made it to the node of the replica that reads it; on the same node it is read in shared memory. The Ingress
passes the reference on and never holds the array.

Ray deletes the array when the last reference is gone. A reference in the answer of a stream counts from the
moment when Ray's message about it arrives, which may be after the replica has dropped its own; a replica
therefore keeps its references for a while (`HELD_SECONDS`). The array is lost earlier if its node is lost, or
if the replica that stored it ends: a replica that is replaced waits a moment (`linger`). An attempt whose
latents are lost makes them again.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Latents = npt.NDArray[np.float32]
"""[frames, channels] at 25 Hz; 64 channels in the official checkpoints."""

HELD_SECONDS = 30.0
"""How long a replica keeps the references that it gave away."""
LINGER_SECONDS = 5.0
"""How long a replica that ends keeps the latents that it stored last. The next stage begins at once, and
reads them when its call begins."""


@dataclass(frozen=True)
class LatentsRef:
    """A reference to latents in the object store."""

    object_ref: Any
    """A `ray.ObjectRef`, for which Ray has no type that mypy can read."""

    async def read(self) -> Latents:
        """Return the latents, which must not be written to: they may be in memory that processes share.

        Raises ray.exceptions.ObjectLostError.
        """
        latents: Latents = await self.object_ref
        return latents


class LatentsStore:
    """Stores the latents that one replica makes. It belongs to one event loop."""

    def __init__(self) -> None:
        self._last_put = float("-inf")
        self._held: deque[Any] = deque()

    async def put(self, latents: Latents) -> LatentsRef:
        """Copy latents to the object store. Raises ray.exceptions.ObjectStoreFullError."""
        import ray  # here, because messages are also read before Ray's environment is set, and without Ray

        object_ref = await asyncio.to_thread(ray.put, latents)
        self._last_put = time.monotonic()
        self._held.append(object_ref)
        asyncio.get_running_loop().call_later(HELD_SECONDS, self._held.popleft)
        return LatentsRef(object_ref)

    async def linger(self) -> None:
        """Return when the latents that were stored last should have been read."""
        await asyncio.sleep(self._last_put + LINGER_SECONDS - time.monotonic())
