"""Measures submits and polls a second behind Serve's Python proxy and behind HAProxy.

No job begins meanwhile.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.load import client
from benchmarks.end_to_end.processes import processor_seconds
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Bench, haproxy, ours, pause
from benchmarks.end_to_end.sizes import Size
from benchmarks.end_to_end.statistics import percentile
from benchmarks.tiny_models import TINY_MODELS

Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


def requests_rate(bench: Bench, size: Size, report: Report) -> None:
    """Report two rows for each proxy and number of clients. The models are tiny, because no job uses them."""
    small = Bench(TINY_MODELS, 1, 1, bench.folder)
    rows = []
    for name, is_haproxy in (("Python", False), ("HAProxy", True)):
        with haproxy(is_haproxy), ours(small) as server:
            pause(server)
            for clients in (1, size.request_clients):
                for what, ask in (("submit", submit()), ("poll", poll(server.url))):
                    rows.append(
                        {
                            "proxy": name,
                            "request": what,
                            "clients": clients,
                            **_measured(server.url, server.pid, clients, size.request_seconds, ask),
                        }
                    )
    report.table("Requests a second while jobs wait", rows)


def submit() -> Ask:
    """Return a call that submits a new job each time."""
    songs = (mix.one_song(10, seed).model_dump() for seed in itertools.count())

    async def ask(http: httpx.AsyncClient) -> httpx.Response:
        return await http.post("/v1/music/generate", json=next(songs))

    return ask


def poll(url: str) -> Ask:
    """Return a call that polls one waiting job."""
    answer = httpx.post(f"{url}/v1/music/generate", json=mix.one_song(10, 0).model_dump())
    path = f"/v1/jobs/{answer.raise_for_status().json()['job_id']}"

    async def ask(http: httpx.AsyncClient) -> httpx.Response:
        return await http.get(path)

    return ask


def _measured(url: str, pid: int, clients: int, seconds: float, ask: Ask) -> dict[str, Any]:
    before, own = processor_seconds(pid), time.process_time()
    latencies = asyncio.run(_latencies(url, clients, seconds, ask))
    spent, after = time.process_time() - own, processor_seconds(pid)
    busiest = max(after, key=lambda role: after[role] - before.get(role, 0.0))
    return {
        "a second": len(latencies) / seconds,
        "p50, ms": 1000 * percentile(latencies, 0.5),
        "p99, ms": 1000 * percentile(latencies, 0.99),
        "server, ms of a core each": 1000 * (sum(after.values()) - sum(before.values())) / len(latencies),
        "busiest process": busiest,
        "clients, ms of a core each": 1000 * spent / len(latencies),
    }


async def _latencies(url: str, clients: int, seconds: float, ask: Ask) -> list[float]:
    latencies: list[float] = []
    async with client(url) as http:

        async def repeat(until: float) -> None:
            while (began := time.perf_counter()) < until:
                (await ask(http)).raise_for_status()
                latencies.append(time.perf_counter() - began)

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(repeat(time.perf_counter() + seconds))
    return latencies
