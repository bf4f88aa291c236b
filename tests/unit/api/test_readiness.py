"""Readiness comes from a cache: the parts are asked once a second, however many clients ask."""

import asyncio
from contextvars import ContextVar

import pytest

from serve_app.api import readiness
from serve_app.api.readiness import FRESH_SECONDS, RENEWED_SECONDS, STALE_SECONDS, KnownCondition
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
    now += RENEWED_SECONDS / 2
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


async def test_whoever_asks_often_does_not_wait_for_an_answer_of_the_parts() -> None:
    parts, now = Parts(), 100.0
    known = KnownCondition(parts, lambda: now)
    await known()
    parts.mode = Mode.DRAINING
    parts.free.clear()
    now += RENEWED_SECONDS
    for _ in range(3):
        async with asyncio.timeout(0):  # expires as soon as a caller waits
            assert (await known()).mode is Mode.OPEN
    await asyncio.sleep(0)
    assert parts.asked == 2
    parts.free.set()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(0):
        assert (await known()).mode is Mode.DRAINING


async def test_a_client_that_leaves_does_not_end_the_question_that_it_began() -> None:
    request: ContextVar[str] = ContextVar("request")
    seen: list[str] = []

    async def ask() -> Condition:
        seen.append(request.get("none"))
        return Condition(Mode.OPEN, {})

    request.set("a client's")
    await KnownCondition(ask)()
    assert seen == ["none"]
