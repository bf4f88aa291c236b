"""The tracker's actor on a local Ray, and simulated Ingress replicas that call it without pause."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import ray

from benchmarks.end_to_end.processes import processor_seconds
from benchmarks.growth.samples import RESULT, new_jobs
from configs.settings import Settings
from serve_app.jobs.client import TrackerProcess, find_tracker, tracker_client

IN_FLIGHT = 16
"""Calls of one ingress that are under way at a time."""
SUBMIT, RUN, HEARTBEAT = "submit", "claim and finish", "heartbeat"
"""The kinds of calls."""


@dataclass(frozen=True)
class Done:
    """The calls of one ingress."""

    calls: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """The calls of all ingresses, and the processor time that they took."""

    calls: int
    seconds: float
    tracker: float
    """Processor seconds of the tracker's process."""
    ingresses: float
    """Processor seconds of the processes of all ingresses."""


class SimulatedIngress:
    """A process that calls the tracker as an Ingress replica does."""

    def __init__(self, settings: Settings, number: int) -> None:
        self._tracker = tracker_client(settings)
        self._jobs = new_jobs(number)
        self._number = number
        self._claimed: dict[str, str] = {}
        """Tokens by job id."""
        self._tokens = 0

    async def call(self, kind: str, seconds: float) -> Done:
        """Make calls of one kind for `seconds`, or until no job is left to claim."""
        if kind == HEARTBEAT:
            return await _repeat([self._heartbeats(*running) for running in self._claimed.items()], seconds)
        work = self._submit if kind == SUBMIT else self._run
        return await _repeat([work] * IN_FLIGHT, seconds)

    async def begin_jobs(self) -> None:
        """Run as many jobs as heartbeats may be in flight."""
        for _ in range(IN_FLIGHT):
            await self._submit()
            await self._claim()

    async def end_jobs(self) -> None:
        """Finish the jobs that run."""
        await asyncio.gather(*map(self._finish, list(self._claimed)))

    async def _submit(self) -> int:
        await self._tracker.submit(next(self._jobs))
        return 1

    async def _run(self) -> int:
        job_id = await self._claim()
        if job_id is None:
            return 0
        await self._finish(job_id)
        return 2

    def _heartbeats(self, job_id: str, token: str) -> Callable[[], Awaitable[int]]:
        async def beat() -> int:
            return int(await self._tracker.heartbeat(job_id, token, "denoising", 0.5, None))

        return beat

    async def _claim(self) -> str | None:
        self._tokens += 1
        token = f"token {self._number} {self._tokens}"
        claim = await self._tracker.claim(token, 0.0)
        if claim is None:
            return None
        self._claimed[claim.job.job_id] = token
        return claim.job.job_id

    async def _finish(self, job_id: str) -> None:
        await self._tracker.finish(job_id, self._claimed.pop(job_id), RESULT, ("song.mp3",), 1_000)


async def _repeat(works: list[Callable[[], Awaitable[int]]], seconds: float) -> Done:
    """Repeat all works side by side for `seconds`; one that returns 0 ends. Others return their calls."""
    began = time.perf_counter()

    async def repeat(work: Callable[[], Awaitable[int]]) -> int:
        calls = 0
        while time.perf_counter() < began + seconds and (made := await work()):
            calls += made
        return calls

    calls = sum(await asyncio.gather(*map(repeat, works)))
    return Done(calls, time.perf_counter() - began)


def measure(settings: Settings, counts: list[int], seconds: float) -> list[dict[str, Any]]:
    """Return rows with what one tracker does for each number of ingresses."""
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8
    )
    try:
        return _measure(settings, counts, seconds)
    finally:
        if tracker := find_tracker(settings):
            ray.kill(tracker, no_restart=True)
        ray.shutdown()


def _measure(settings: Settings, counts: list[int], seconds: float) -> list[dict[str, Any]]:
    make = ray.remote(SimulatedIngress).options(num_cpus=0, max_concurrency=4, enable_task_events=False)
    ingresses: list[Any] = []
    rows = []
    for count in counts:
        while len(ingresses) < count:
            ingresses.append(make.remote(settings, len(ingresses)))
        ray.get([ingress.call.remote(SUBMIT, 0.5) for ingress in ingresses])
        rows += [row(count, kind, _calls(ingresses, kind, seconds)) for kind in (SUBMIT, RUN)]
        ray.get([ingress.begin_jobs.remote() for ingress in ingresses])
        rows.append(row(count, HEARTBEAT, _calls(ingresses, HEARTBEAT, seconds)))
        ray.get([ingress.end_jobs.remote() for ingress in ingresses])
    return rows


def _calls(ingresses: list[Any], kind: str, seconds: float) -> Measured:
    before = processor_seconds(os.getpid())
    done = ray.get([ingress.call.remote(kind, seconds) for ingress in ingresses])
    after = processor_seconds(os.getpid())
    tracker, callers = (
        after[role.__name__] - before[role.__name__] for role in (TrackerProcess, SimulatedIngress)
    )
    return Measured(sum(one.calls for one in done), max(one.seconds for one in done), tracker, callers)


def row(ingresses: int, kind: str, measured: Measured) -> dict[str, Any]:
    """Return a row of the table."""
    return {
        "ingresses": ingresses,
        "kind": kind,
        "calls a second": measured.calls / measured.seconds,
        "tracker, µs a call": 1e6 * measured.tracker / measured.calls,
        "tracker, % of a core": 100 * measured.tracker / measured.seconds,
        "calls a second of a whole core": measured.calls / measured.tracker,
        "ingresses, µs a call": 1e6 * measured.ingresses / measured.calls,
    }
