"""Clients that poll their own jobs through readers, while other jobs are submitted and run."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.growth.processes import LoopThread, Wire
from benchmarks.growth.samples import RESULT, new_jobs, settings
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.reading.reader import JobReader
from serve_app.jobs.tracker_api import TrackerApi

POLL_SECONDS = 2.0
JOBS_A_SECOND = 20
RUN_SECONDS = 6.0
"""How long a job runs. Together with `JOBS_A_SECOND` it determines how many run at a time."""
HEARTBEAT_SECONDS = 2.0
WARM_UP_SECONDS = 10.0


@dataclass(frozen=True)
class Polled:
    """The polls of one measurement and the processor time that they took."""

    seconds: float
    polls: int
    asked: int
    """Polls for which a reader asked the tracker."""
    tracker: float
    """Processor seconds of the tracker's thread."""
    readers: float
    """Processor seconds of the threads of all readers, with the clients that they serve."""


class Desk:
    """A thread that answers the polls of some clients."""

    def __init__(self, tracker: DurableTracker, home: LoopThread, reads: bool) -> None:
        """`reads`: a reader answers; otherwise the tracker is asked each time."""
        self.thread = LoopThread()
        self.wire = Wire(tracker, home)
        self._reader = JobReader(self.wire.client) if reads else None
        self._views = self._reader or self.wire.client
        self.polls = 0
        self._clients: list[asyncio.Task[None]] = []

    async def open(self, jobs: Sequence[str], fresh: deque[str]) -> None:
        """Let one client poll each of these jobs; when its job has ended, it takes a fresh one."""
        for number, job_id in enumerate(jobs):
            begin = POLL_SECONDS * number / len(jobs)
            self._clients.append(asyncio.create_task(self._client(job_id, begin, fresh)))

    async def close(self) -> None:
        """Let the clients go, and end the reader."""
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        if self._reader is not None:
            await self._reader.stop()

    async def _client(self, job_id: str, begin: float, fresh: deque[str]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + begin
        while True:
            await asyncio.sleep(due - loop.time())
            view = await self._views.view(job_id)
            self.polls += 1
            if view is not None and view.state.is_final and fresh:
                job_id = fresh.popleft()
            due = max(due + POLL_SECONDS, loop.time())


class Traffic:
    """Jobs that are submitted, claimed, kept alive and finished at a constant rate."""

    def __init__(self, tracker: TrackerApi, fresh: deque[str]) -> None:
        self._tracker = tracker
        self._fresh = fresh
        self._new = new_jobs(0)
        self._tokens = count()
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, jobs: int) -> list[str]:
        """Submit jobs and return their ids."""
        group = [next(self._new) for _ in range(jobs)]
        await asyncio.gather(*map(self._tracker.submit, group))
        return [new.job_id for new in group]

    async def begin(self) -> None:
        """Begin jobs from now on."""
        self._beginning = asyncio.create_task(self._begin())

    async def end(self) -> None:
        """Leave all jobs as they are."""
        tasks = (self._beginning, *self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._fresh += await self.submit(1)
            task = asyncio.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            due += 1 / JOBS_A_SECOND
            await asyncio.sleep(due - loop.time())

    async def _run(self) -> None:
        token = f"token {next(self._tokens)}"
        claim = await self._tracker.claim(token, 0.0)
        assert claim is not None
        job_id, beats = claim.job.job_id, round(RUN_SECONDS / HEARTBEAT_SECONDS)
        for beat in range(beats):
            await self._tracker.heartbeat(job_id, token, "denoising", beat / beats, None)
            await asyncio.sleep(HEARTBEAT_SECONDS)
        await self._tracker.finish(job_id, token, RESULT, (), 0)


def measure(folder: Path, store: str, clients: int, readers: int, seconds: float) -> Polled:
    """Let clients poll for `seconds`; with 0 readers, they ask the tracker."""
    home = LoopThread()
    tracker = DurableTracker(settings(folder, store))
    desks = [Desk(tracker, home, reads=readers > 0) for _ in range(max(1, readers))]
    fresh: deque[str] = deque()
    traffic = Traffic(tracker, fresh)
    jobs = home.run(traffic.submit(max(clients, JOBS_A_SECOND)))[:clients]
    home.run(traffic.begin())
    for number, desk in enumerate(desks):
        desk.thread.run(desk.open(jobs[number :: len(desks)], fresh))
    time.sleep(WARM_UP_SECONDS)
    began, before = time.perf_counter(), _done(home, desks)
    time.sleep(seconds)
    passed, after = time.perf_counter() - began, _done(home, desks)
    for desk in desks:
        desk.thread.run(desk.close())
        desk.thread.stop()
    home.run(traffic.end())
    home.run(tracker.close())
    home.stop()
    polls, asked, tracker_seconds, reader_seconds = (a - b for a, b in zip(after, before, strict=True))
    return Polled(passed, int(polls), int(asked), tracker_seconds, reader_seconds)


def _done(home: LoopThread, desks: Sequence[Desk]) -> tuple[float, ...]:
    """Return polls, questions to the tracker, and processor seconds of tracker and readers so far."""
    return (
        sum(desk.polls for desk in desks),
        sum(len(desk.wire.sizes["view"]) for desk in desks),
        home.processor_seconds,
        sum(desk.thread.processor_seconds for desk in desks),
    )


def row(answered_by: str, measured: Polled) -> dict[str, Any]:
    """Return a row of the table. The tracker's time is that of the jobs and of the polls."""
    costs = {
        "answered by": answered_by,
        "polls a second": measured.polls / measured.seconds,
        "tracker, % of a core": 100 * measured.tracker / measured.seconds,
    }
    if not measured.polls:
        return costs
    return costs | {
        "asked the tracker, %": 100 * measured.asked / measured.polls,
        "tracker, µs a poll": 1e6 * measured.tracker / measured.polls,
        "readers, % of a core": 100 * measured.readers / measured.seconds,
        "readers, µs a poll": 1e6 * measured.readers / measured.polls,
    }
