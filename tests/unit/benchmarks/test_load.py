import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from benchmarks.end_to_end import load, mix

JOB_SECONDS = 0.02
URL = "http://jobs"


class JobServer:
    """Answers the job API. All jobs run at once and take the same time."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.at_once = self.most_at_once = 0
        self.status = "succeeded"
        self.watched: set[str] = set()
        self.seen: set[str] = set()
        self.needed = 1
        """Number of jobs that must have arrived before any job ends."""
        self.enough = asyncio.Event()
        self.app = FastAPI()
        self.app.post("/v1/music/generate")(self.generate)
        self.app.get("/v1/jobs/{job_id}")(self.poll)

    async def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["caption"]
        self.ends.append(time.time() + JOB_SECONDS)
        if len(self.ends) >= self.needed:
            self.enough.set()
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        return {"job_id": str(len(self.ends) - 1)}

    async def poll(self, job_id: int, wait: float) -> dict[str, Any]:
        self.seen |= self.watched
        await self.enough.wait()
        end = self.ends[job_id]
        await asyncio.sleep(min(wait, max(0.0, end - time.time())))
        self.at_once -= 1
        times = {"started_at": end - JOB_SECONDS, "finished_at": end}
        return {
            "status": self.status,
            **times,
            "result": {"timings": {"denoising": 1.0}},
            "error": "no sound",
        }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobServer]:
    server = JobServer()
    transport = httpx.ASGITransport(server.app)
    monkeypatch.setattr(load, "client", lambda url: httpx.AsyncClient(base_url=url, transport=transport))
    return server


async def test_a_closed_loop_has_as_many_jobs_in_flight_as_clients(server: JobServer) -> None:
    server.needed = 3
    records = await load.closed_loop(URL, mix.songs(10, (10, 20), 1), clients=3)
    assert len(records) == len(server.ends) == 10
    assert server.most_at_once == 3
    assert all(record.latency >= JOB_SECONDS for record in records)
    assert records[0].stages == {"denoising": 1.0}


async def test_an_open_loop_sends_jobs_when_they_come_and_waits_for_none(server: JobServer) -> None:
    arrivals = [0.0, 0.03, 0.031, 0.1]
    server.needed = len(arrivals)
    began = time.time()
    async with asyncio.timeout(30):
        records = await load.open_loop(URL, mix.songs(4, (10, 20), 1), arrivals)
    assert all(record.submitted > began + at - 0.001 for at, record in zip(arrivals, records, strict=True))
    assert server.most_at_once == len(arrivals)


async def test_watchers_are_told_which_jobs_are_under_way(server: JobServer) -> None:
    under_way: set[str] = set()
    server.watched = under_way
    await load.closed_loop(URL, mix.songs(2, (10, 20), 1), 2, under_way)
    assert server.seen == {"0", "1"}
    assert not under_way


async def test_a_failed_job_ends_the_benchmark(server: JobServer) -> None:
    server.status = "failed"
    with pytest.raises(ExceptionGroup) as raised:
        await load.closed_loop(URL, mix.songs(1, (10, 20), 1), 1)
    assert raised.group_contains(RuntimeError, match="no sound")
