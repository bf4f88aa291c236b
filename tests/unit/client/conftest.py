"""Both clients against a server that is a function of the test, on a clock that passes by itself."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from acestep_client import AsyncClient, Client, Retries
from tests.unit.client.answers import Answers


class Clock:
    """A clock on which pauses take no time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    async def async_sleep(seconds: float) -> None:
        clock.sleep(seconds)

    monkeypatch.setattr("acestep_client.driver.sleep", clock.sleep)
    monkeypatch.setattr("acestep_client.async_driver.asyncio", _Asyncio(async_sleep))
    for module in ("retrying", "flows"):
        monkeypatch.setattr(f"acestep_client.{module}.monotonic", lambda: clock.now)
    return clock


class _Asyncio:
    """The part of asyncio that the client uses."""

    def __init__(self, sleep: Callable[[float], Any]) -> None:
        self.sleep = sleep


Connect = Callable[..., Any]


@pytest.fixture(params=[Client, AsyncClient], ids=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return a function that makes a client of a server, which is a function or `Answers`."""

    def connected(server: Callable[[httpx.Request], httpx.Response] | Answers, **options: Any) -> Any:
        options.setdefault("retries", Retries(patience_seconds=60.0))
        return request.param("http://server/below", transport=httpx.MockTransport(server), **options)

    return connected


async def done(call: Any) -> Any:
    """Return the result of a call of either client."""
    return await call if inspect.isawaitable(call) else call


async def listed(values: Any) -> list[Any]:
    """Return what either client yields."""
    if hasattr(values, "__aiter__"):
        return [value async for value in values]
    return await asyncio.to_thread(list, values)
