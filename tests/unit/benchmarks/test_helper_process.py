"""Programs that run beside a benchmark until they are told to end."""

import asyncio
import threading

import pytest
from fastapi import FastAPI

from benchmarks.helper_process import helper
from benchmarks.hostile_load.probe import TIMEOUT_SECONDS, Times, probing
from tests.unit.api.served import served


async def test_a_probe_asks_until_it_is_told_to_end() -> None:
    app, asked = FastAPI(), threading.Event()

    @app.get("/health")
    async def health() -> None:
        asked.set()

    def probed(url: str) -> Times:
        with probing(int(url.rpartition(":")[2]), "/health") as times:
            assert asked.wait(60)
        return times

    async with served(app) as url:
        times = await asyncio.to_thread(probed, url)
    assert times
    assert all(0 < took <= 1000 * TIMEOUT_SECONDS for _, took in times)


def test_a_program_that_fails_is_noticed() -> None:
    with (
        pytest.raises(RuntimeError, match="probe ended with 1"),
        helper("benchmarks.hostile_load.probe") as failing,  # it needs a port and a path
    ):
        assert failing.line(60.0) == ""
