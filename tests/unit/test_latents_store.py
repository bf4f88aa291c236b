"""A replica keeps its latents in the object store until the next stage has had time to read them."""

import asyncio
import gc
import weakref

import numpy as np
import pytest
import ray

from deployments.common import latents_store
from deployments.common.latents_store import LatentsStore


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "put", lambda latents: latents)
    monkeypatch.setattr(latents_store, "LINGER_SECONDS", 0.3)
    monkeypatch.setattr(latents_store, "HELD_SECONDS", 0.3)


async def seconds_of_lingering(store: LatentsStore) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await store.linger()
    return loop.time() - began


async def test_a_replica_that_stored_nothing_lately_ends_at_once_and_another_one_waits() -> None:
    idle, busy = LatentsStore(), LatentsStore()
    await busy.put(np.zeros((25, 8), np.float32))
    assert await seconds_of_lingering(idle) < await seconds_of_lingering(busy)
    assert await seconds_of_lingering(busy) < 0.3


async def test_it_waits_for_the_latents_that_were_stored_last() -> None:
    store = LatentsStore()
    await store.put(np.zeros((25, 8), np.float32))
    await asyncio.sleep(0.2)
    await store.put(np.zeros((25, 8), np.float32))
    assert await seconds_of_lingering(store) > 0.2


async def test_references_that_were_given_away_are_held_for_a_while_and_then_dropped() -> None:
    """Ray counts a reference in a streamed answer late: nothing else may hold the object at that moment."""
    store = LatentsStore()
    given = weakref.ref((await store.put(np.zeros((25, 8), np.float32))).object_ref)
    gc.collect()
    assert given() is not None
    async with asyncio.timeout(10):
        while given() is not None:
            await asyncio.sleep(0.05)
            gc.collect()
