"""Many open jobs: the tracker, the copy of one reader, its polls, and the news of 100 changes."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.growth.processes import LoopThread, Wire
from benchmarks.growth.samples import RESULT, new_jobs, settings
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.reading.reader import JobReader

HISTORY = 40
"""Jobs that end first, so that there are figures for predictions."""
AT_ONCE = 64
CHANGES = 100
POLLS = 300
ROUNDS = 10
PATIENCE_SECONDS = 600.0
MB = 1e6


class OpenJobs:
    """A tracker with many open jobs and one reader, each in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._home, self._desk = LoopThread(), LoopThread()
        self._tracker = DurableTracker(settings(folder, "memory"))
        self._wire = Wire(self._tracker, self._home)
        self._reader = JobReader(self._wire.client)
        self._new = new_jobs(0)
        self._queued = ""
        """A job in the middle of the queue."""
        self._running: dict[str, str] = {}
        """Tokens by job id."""
        self._progress = 0.0

    def fill(self, jobs: int) -> dict[str, Any]:
        """Submit the jobs, and return what they cost the tracker."""
        self._home.run(self._make_history())
        memory, before = _resident(), self._home.processor_seconds
        self._home.run(self._submit(jobs))
        seconds = self._home.processor_seconds - before
        return {
            "jobs": jobs,
            "s": seconds,
            "µs a submit": 1e6 * seconds / jobs,
            "MB": (_resident() - memory) / MB,
        }

    def copy(self) -> dict[str, Any]:
        """Let the reader make its first copy, and return what that costs both."""
        self._forget_turns()
        memory, before = _resident(), self._processor_seconds()
        self._desk.run(self._until_it_answers(self._queued))
        tracker, reader = self._since(before)
        pages = self._wire.sizes["open_jobs"]
        return {
            "pages": len(pages),
            "MB sent": sum(pages) / MB,
            "tracker, s": tracker,
            "its longest turn, ms": 1e3 * self._home.longest_turn(),
            "reader, s": reader,
            "reader's longest turn, ms": 1e3 * self._desk.longest_turn(),
            "reader's MB": (_resident() - memory) / MB,
        }

    def reads(self, running: int) -> dict[str, Any]:
        """Return the cost of polls and of news while so many jobs run."""
        self._home.run(self._claim(running - len(self._running)))
        changing = list(self._running)[-CHANGES:]
        self._change(changing)
        queued, run = (self._desk.run(self._polled(job_id)) for job_id in (self._queued, changing[-1]))
        self._forget_turns()
        told, before = len(self._wire.sizes["follow"]), self._processor_seconds()
        heartbeats = sum(self._change(changing) for _ in range(ROUNDS))
        tracker, reader = self._since(before)
        return {
            "running": running,
            "poll of a queued job, µs": queued,
            "of a running job, µs": run,
            "news, kB": max(self._wire.sizes["follow"][told:]) / 1e3,
            "tracker, ms": 1e3 * (tracker - heartbeats) / ROUNDS,
            "its longest turn, ms": 1e3 * self._home.longest_turn(),
            "reader, ms": 1e3 * reader / ROUNDS,
            "reader's longest turn, ms": 1e3 * self._desk.longest_turn(),
        }

    def stop(self) -> None:
        """End the reader, the tracker and their threads."""
        self._desk.run(self._reader.stop())
        self._home.run(self._tracker.close())
        self._desk.stop()
        self._home.stop()

    # In the tracker's thread

    async def _submit(self, jobs: int) -> None:
        for begin in range(0, jobs, AT_ONCE):
            group = [next(self._new) for _ in range(min(AT_ONCE, jobs - begin))]
            if begin <= jobs // 2:
                self._queued = group[0].job_id
            await asyncio.gather(*map(self._tracker.submit, group))

    async def _claim(self, jobs: int) -> None:
        for _ in range(jobs):
            token = f"token {len(self._running)}"
            claim = await self._tracker.claim(token, 0.0)
            assert claim is not None
            self._running[claim.job.job_id] = token

    async def _make_history(self) -> None:
        await self._submit(HISTORY)
        await self._claim(HISTORY)
        for job_id, token in self._running.items():
            await self._tracker.finish(job_id, token, RESULT, (), 0)
        self._running.clear()

    async def _heartbeats(self, job_ids: Sequence[str]) -> float:
        """Report progress of these jobs, and return the processor seconds of the reports themselves."""
        seconds = 0.0
        for job_id in job_ids:
            began = time.thread_time()
            await self._tracker.heartbeat(job_id, self._running[job_id], "denoising", self._progress, None)
            seconds += time.thread_time() - began
            await asyncio.sleep(0)
        return seconds

    # In the reader's thread

    async def _until_it_answers(self, job_id: str) -> None:
        """Read a job until the answer comes from memory."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self._is_answered(job_id):  # noqa: ASYNC110, nobody else tells
                await asyncio.sleep(0.2)

    async def _is_answered(self, job_id: str) -> bool:
        asked = len(self._wire.sizes["view"])
        await self._reader.view(job_id)
        return len(self._wire.sizes["view"]) == asked

    async def _polled(self, job_id: str) -> float:
        """Return the median processor time of polls that memory answers, in microseconds."""
        times: list[float] = []
        while len(times) < POLLS:
            began = time.thread_time()
            if await self._is_answered(job_id):
                times.append(time.thread_time() - began)
            else:
                await asyncio.sleep(0.01)
        return 1e6 * statistics.median(times)

    async def _until_it_shows(self, job_id: str) -> None:
        """Wait until the reader knows the newest progress of a job."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            version = ""
            while (view := await self._reader.wait(job_id, version, PATIENCE_SECONDS)) is not None:
                if view.progress >= self._progress:
                    return
                version = view.version

    # For both threads

    def _change(self, job_ids: Sequence[str]) -> float:
        """Change these jobs and wait until the reader shows it; return the seconds of their heartbeats."""
        self._progress += 0.001
        seconds = self._home.run(self._heartbeats(job_ids))
        self._desk.run(self._until_it_shows(job_ids[-1]))
        return seconds

    def _processor_seconds(self) -> tuple[float, float]:
        return self._home.processor_seconds, self._desk.processor_seconds

    def _since(self, before: tuple[float, float]) -> tuple[float, float]:
        """Return the processor seconds of the tracker and of the reader since an earlier moment."""
        tracker, reader = self._processor_seconds()
        return tracker - before[0], reader - before[1]

    def _forget_turns(self) -> None:
        self._home.longest_turn()
        self._desk.longest_turn()


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)
