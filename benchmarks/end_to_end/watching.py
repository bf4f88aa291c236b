"""Measures what generation loses while many clients wait for news, by long poll and by Server-Sent Events."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.load import POLL_SECONDS, client, closed_loop
from benchmarks.end_to_end.processes import processor_seconds
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Server
from benchmarks.end_to_end.sizes import Size
from benchmarks.end_to_end.statistics import Speed

LIMIT_PERCENT = 5
MODEL_PROCESSES = frozenset({"LanguageModel", "Generator", "Codec"})
NOBODY_PAUSE_SECONDS = 0.05
SEED = 100

Watch = Callable[[httpx.AsyncClient, str], Awaitable[int]]
"""A function that waits for the news of one job and returns how many came."""


@dataclass
class Totals:
    """The sums over all rounds of one kind."""

    audio_seconds: int = 0
    seconds: float = 0.0
    news: int = 0
    client_seconds: float = 0.0
    server_seconds: float = 0.0
    """Processor time of the server's processes without its models."""

    @property
    def speed(self) -> float:
        return self.audio_seconds / self.seconds

    @property
    def processor_share(self) -> float:
        """Return the cores that the server without its models and the clients took."""
        return (self.server_seconds + self.client_seconds) / self.seconds


async def long_poll(http: httpx.AsyncClient, job_id: str) -> int:
    answer = await http.get(f"/v1/jobs/{job_id}", params={"wait": POLL_SECONDS})
    answer.raise_for_status()
    return 1


async def events(http: httpx.AsyncClient, job_id: str) -> int:
    async with http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        answer.raise_for_status()
        return len([line async for line in answer.aiter_lines() if line.startswith("event:")])


NOBODY = "nobody"
WATCHES: dict[str, Watch] = {"long poll": long_poll, "events": events}
ORDER = (NOBODY, *WATCHES, NOBODY)
"""The order of the rounds.

The rounds without watchers come first and last, so that a change of the machine's speed affects both kinds.
"""


def watching(server: Server, size: Size, report: Report) -> None:
    """Report jobs with and without watchers, in turns."""
    totals = {kind: Totals() for kind in ORDER}
    for number in range(size.watched_rounds):
        songs = mix.songs(size.watched_jobs, size.durations, SEED + number)
        for index, kind in enumerate(ORDER):
            total, watch = totals[kind], WATCHES.get(kind)
            # Each round has the same work with other words, so that no prompt is in the language model's
            # cache.
            requests = mix.reworded(songs, len(ORDER) * number + index)
            spent, own = _outside_models(server), time.process_time()
            jobs: set[str] = set()
            watched = _watched(server.url, watch, size.watchers, jobs)
            records, news = asyncio.run(
                watched(closed_loop(server.url, requests, size.watched_clients, jobs))
            )
            speed = Speed.of(records)
            total.audio_seconds += speed.audio_seconds
            total.seconds += speed.seconds
            total.news += news
            total.client_seconds += time.process_time() - own
            total.server_seconds += _outside_models(server) - spent
    report.table(f"{size.watchers} clients that wait for news of running jobs", _rows(totals))
    cores = len(os.sched_getaffinity(0))
    nobody = totals[NOBODY]
    for kind in WATCHES:
        lost = f"generation lost to {size.watchers} clients ({kind})"
        by_the_clock = 1 - totals[kind].speed / nobody.speed
        # Processor time is compared as well, because the wall time of a machine whose speed changes is
        # unreliable.
        by_processor_time = (totals[kind].processor_share - nobody.processor_share) / cores
        report.goal(f"{lost}, by the clock", 100 * by_the_clock, "≤", LIMIT_PERCENT, "%")
        report.goal(f"{lost}, by processor time", 100 * by_processor_time, "≤", LIMIT_PERCENT, "%")


def _watched(url: str, watch: Watch | None, watchers: int, jobs: set[str]) -> Callable[[Awaitable[Any]], Any]:
    """Return a function that runs some work while `watchers` clients watch its jobs.

    It returns the result of the work and the number of news that they received.
    """

    async def one(http: httpx.AsyncClient, watch: Watch, chance: random.Random) -> int:
        news = 0
        try:
            while True:
                if jobs:
                    news += await watch(http, chance.choice(sorted(jobs)))
                else:
                    await asyncio.sleep(NOBODY_PAUSE_SECONDS)
        except asyncio.CancelledError:
            return news

    async def run(work: Awaitable[Any]) -> tuple[Any, int]:
        async with client(url) as http:
            tasks = [
                asyncio.create_task(one(http, watch, random.Random(number)))
                for number in range(watchers)
                if watch is not None
            ]
            result = await work
            for task in tasks:
                task.cancel()
            return result, sum(await asyncio.gather(*tasks))

    return run


def _outside_models(server: Server) -> float:
    spent = processor_seconds(server.pid)
    return sum(seconds for role, seconds in spent.items() if role not in MODEL_PROCESSES)


def _rows(totals: dict[str, Totals]) -> list[dict[str, Any]]:
    return [
        {
            "watching": kind,
            "audio s/s": total.speed,
            "of nobody's": total.speed / totals[NOBODY].speed,
            "news/s": total.news / total.seconds,
            "server without models, % of a core": 100 * total.server_seconds / total.seconds,
            "clients, % of a core": 100 * total.client_seconds / total.seconds,
        }
        for kind, total in totals.items()
    ]
