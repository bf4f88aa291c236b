"""The load generator: clients of the job API in a closed and in an open loop.

In the closed loop, each of a fixed number of clients sends its next job when it has learned of the end of its
last one. In the open loop, jobs arrive at given times, whatever the server is doing.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.peers.song_request import SongRequest

POLL_SECONDS = 60
"""Seconds that one poll waits for news."""
TIMEOUT_SECONDS = 1800


@dataclass(frozen=True)
class Record:
    """One job as its client saw it. Times are epoch seconds."""

    job_id: str
    audio_seconds: int
    submitted: float
    accepted: float
    started: float
    finished: float
    seen: float
    """The time at which the client learned of the end."""
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def latency(self) -> float:
        """Return the seconds from the submit until the client knew of the end."""
        return self.seen - self.submitted

    @property
    def waited(self) -> float:
        """Return the seconds that the job waited in the queue."""
        return self.started - self.submitted


def client(url: str) -> httpx.AsyncClient:
    """Return an HTTP client without a limit on connections, so that each job can have one."""
    return httpx.AsyncClient(
        base_url=url,
        timeout=httpx.Timeout(POLL_SECONDS + 60),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
    )


async def run_job(http: httpx.AsyncClient, request: SongRequest, started: set[str] | None = None) -> Record:
    """Submit a job and follow it to its end.

    Its id is in `started` meanwhile. Raises RuntimeError when the job fails.
    """
    submitted = time.time()
    answer = await http.post("/v1/music/generate", json=request.model_dump())
    job_id: str = answer.raise_for_status().json()["job_id"]
    accepted = time.time()
    if started is not None:
        started.add(job_id)
    job: dict[str, Any] = {"status": "queued"}
    while job["status"] in ("queued", "running"):
        if time.time() - submitted > TIMEOUT_SECONDS:
            raise RuntimeError(f"job {job_id} did not end in {TIMEOUT_SECONDS} s: {job}")
        poll = await http.get(f"/v1/jobs/{job_id}", params={"wait": POLL_SECONDS})
        job = poll.raise_for_status().json()
    seen = time.time()
    if started is not None:
        started.remove(job_id)
    if job["status"] != "succeeded":
        raise RuntimeError(f"job {job_id} has {job['status']}: {job['error']}")
    return Record(
        job_id,
        request.audio_seconds,
        submitted,
        accepted,
        job["started_at"],
        job["finished_at"],
        seen,
        job["result"]["timings"],
    )


async def closed_loop(
    url: str, requests: Sequence[SongRequest], clients: int, started: set[str] | None = None
) -> list[Record]:
    """Run the jobs with `clients` concurrent clients that share the requests."""
    waiting: Iterator[SongRequest] = iter(requests)
    async with client(url) as http:

        async def ask() -> list[Record]:
            return [await run_job(http, request, started) for request in waiting]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask()) for _ in range(clients)]
    return [record for task in tasks for record in task.result()]


async def open_loop(url: str, requests: Sequence[SongRequest], arrivals: Sequence[float]) -> list[Record]:
    """Send the jobs at `arrivals`, given in seconds from now."""
    began = asyncio.get_running_loop().time()
    async with client(url) as http:

        async def come(request: SongRequest, at: float) -> Record:
            await asyncio.sleep(began + at - asyncio.get_running_loop().time())
            return await run_job(http, request)

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(come(request, at)) for request, at in zip(requests, arrivals, strict=True)
            ]
    return [task.result() for task in tasks]
