"""Readiness comes from a cache: the parts are asked once a second, however many clients ask."""

import asyncio

import pytest

from serve_app.api import readiness
from serve_app.api.readiness import FRESH_SECONDS, STALE_SECONDS, KnownCondition
from serve_app.api.service import Condition, Readiness
from serve_app.jobs.mode import Mode


class Parts:
    """Parts whose answers the test controls."""

    def __init__(self) -> None:
        self.asked = 0
        self.free = asyncio.Event()
        self.free.set()
        self.mode: Mode | None = Mode.OPEN

    async def __call__(self) -> Condition:
        self.asked += 1
        await self.free.wait()
        return Condition(self.mode, {"JobTracker": Readiness.READY})


async def test_readiness_is_asked_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.01)
    parts, now = Parts(), 100.0
    known = KnownCondition(parts, lambda: now)
    assert [found.mode for found in await asyncio.gather(*(known() for _ in range(50)))] == [Mode.OPEN] * 50
    assert parts.asked == 1
    now += FRESH_SECONDS / 2
    parts.mode = Mode.DRAINING
    assert (await known()).mode is Mode.OPEN
    now += FRESH_SECONDS
    assert (await known()).mode is Mode.DRAINING
    parts.free.clear()
    parts.mode = Mode.PAUSED
    now += 2 * FRESH_SECONDS
    assert [(await known()).mode for _ in range(3)] == [Mode.DRAINING] * 3
    assert parts.asked == 3
    now += STALE_SECONDS
    waiting = asyncio.create_task(known())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    parts.free.set()
    assert (await waiting).mode is Mode.PAUSED
