"""Measures the cost of the job tracker's operations while 100 and while 10,000 jobs wait.

`python -m benchmarks.tracker [--store sqlite|redis|memory] [--json FILE]`

The tracker, its journal and the store run in this process, without Ray and without HTTP. `tracker` is the
time for which an operation keeps the tracker from doing another (processor time of the tracker's thread).
`durable` is the time that its only caller waits for the answer, which is mostly the disk. All figures are
microseconds, and medians unless stated otherwise. A submit looks up its id and its idempotency key in the
store first, and a poll of a job that ended long ago looks up its record, as `serve_app.jobs.durable_tracker`
does.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.growth.samples import RESULT, SPEC, WORK
from benchmarks.measuring import show, write_json
from configs.domain import Task
from configs.settings import JobSettings
from deployments.common.messages import Metadata
from serve_app.jobs.model import Checkpoint, Client, IdempotencyKey, NewJob
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.stores import open_store
from serve_app.jobs.tracker import JobTracker
from serve_app.request.song_plan import SongPlan
from tests.redis_server import RedisServer

QUEUES = (100, 10_000)
WARM_UP = 40
"""Jobs that run before the measurement, so that the tracker has a history for its estimates."""
MEASURED = 300
CLIENTS = 20
RUNNERS = 4
CALLERS = (1, 64)
CALLER_SECONDS = 3.0
"""Seconds for which the throughput of each number of callers is measured."""

PLAN = SongPlan(Task.TEXT2MUSIC, Metadata(120, "C Major", "4/4"), (30.0, 30.0), None, lm_answered=True)
CHECKPOINT = Checkpoint(PLAN, (tuple(range(150)),) * 2, {"planning": 1.0, "composing": 3.0})

Timings = dict[str, list[tuple[float, float]]]
"""For each operation, the (seconds of the tracker, seconds until it was durable) of every call."""


class Bench:
    """A tracker whose queue keeps its length."""

    def __init__(self, location: str) -> None:
        settings = JobSettings(queue_limit=10**9, client_jobs=10**9, client_bytes=10**15)
        self.journal = Journal(open_store(location))
        self.tracker = JobTracker(settings, self.journal, time.time)
        self.timings: Timings = defaultdict(list)
        self._numbers = count()
        self._waiting: list[str] = []
        self._running: list[tuple[str, str]] = []

    async def fill(self, waiting: int) -> None:
        """Put jobs into the queue, and give a few to runners."""
        for number in range(waiting + RUNNERS):
            await self.submit()
            if number % 100 == 0:
                await self.journal.flushed()
        for _ in range(RUNNERS):
            self.claim()
        await self.journal.flushed()

    async def submit(self) -> None:
        number = next(self._numbers)
        job_id = f"{number:08}-0000-4000-8000-000000000000"
        key = IdempotencyKey(f"key {number}", "fingerprint")
        client = Client(f"client {number % CLIENTS}")
        new = NewJob(job_id, SPEC, WORK, client, idempotency=key)
        self.tracker.submit(new, await self.journal.earlier(new))
        self._waiting.append(job_id)

    async def poll(self, job_id: str) -> None:
        """Look up a job that is in the store only."""
        job = await self.journal.get(job_id)
        assert job is not None
        self.tracker.view_of(job)

    def claim(self) -> None:
        token = f"token {next(self._numbers)}"
        claim = self.tracker.claim(token)
        assert claim is not None
        self._waiting.remove(claim.job.job_id)
        self._running.append((claim.job.job_id, token))

    async def run_a_job(self) -> None:
        """Run each operation once and submit a second job, so that as many jobs wait as before."""
        tracker = self.tracker
        await self._measured("submit", self.submit)
        await self.submit()
        await self.journal.flushed()
        middle, last = self._waiting[len(self._waiting) // 2], self._waiting.pop()
        # The first poll after a job has finished computes the speeds anew.
        await self._measured("first poll after a finish", lambda: tracker.view(middle))
        await self._measured("poll in mid-queue", lambda: tracker.view(middle))
        await self._measured("cancel", lambda: tracker.cancel(last))
        self._tidy()
        await self.journal.flushed()
        await self._measured("claim", self.claim)
        job_id, token = self._running.pop(0)
        await self._measured("heartbeat", lambda: tracker.heartbeat(job_id, token, "denoising", 0.5))
        await self._measured("checkpoint", lambda: tracker.checkpoint(job_id, token, CHECKPOINT))
        await self._measured("finish", lambda: tracker.finish(job_id, token, RESULT, ("file",), 1000))
        self._tidy()
        await self.journal.flushed()
        await self._measured("poll an ended job", lambda: self.poll(job_id))

    def _tidy(self) -> None:
        """Note that the storage holds nothing more of ended jobs than their songs."""
        for job in self.tracker.ended.untidy():
            self.tracker.ended.tidied(job)

    async def throughput(self, callers: int) -> float:
        """Return the durable submits a second."""
        ends_at = time.perf_counter() + CALLER_SECONDS
        done = count()

        async def call() -> None:
            while time.perf_counter() < ends_at:
                await self.submit()
                await self.journal.flushed()
                next(done)

        await asyncio.gather(*(call() for _ in range(callers)))
        return next(done) / CALLER_SECONDS

    async def _measured(self, name: str, operation: Callable[[], object]) -> None:
        started, busy = time.perf_counter(), time.thread_time()
        if isinstance(waited := operation(), Awaitable):
            await waited
        busy = time.thread_time() - busy
        await self.journal.flushed()
        self.timings[name].append((busy, time.perf_counter() - started))


async def measure(stores: Iterator[str]) -> tuple[list[Timings], dict[int, float]]:
    """Return the timings with each length of the queue, and submits a second by callers with the longest.

    The queues take turns, so that other programs on the machine slow them down equally.
    """
    benches = [Bench(next(stores)) for _ in QUEUES]
    try:
        for bench, waiting in zip(benches, QUEUES, strict=True):
            await bench.fill(waiting)
        for number in range(WARM_UP + MEASURED):
            for bench in benches:
                if number == WARM_UP:
                    bench.timings.clear()
                await bench.run_a_job()
        submits = {callers: await benches[-1].throughput(callers) for callers in CALLERS}
        return [bench.timings for bench in benches], submits
    finally:
        for bench in benches:
            bench.journal.store.close()


def rows(short: Timings, long: Timings) -> list[dict[str, Any]]:
    """Return one row for each operation, over both lengths of the queue."""
    return [
        {
            "operation": name,
            **_columns("tracker", [tracker for tracker, _ in short[name]], [t for t, _ in long[name]]),
            **_columns("durable", [durable for _, durable in short[name]], [d for _, d in long[name]]),
        }
        for name in short
    ]


def _columns(what: str, short: list[float], long: list[float]) -> dict[str, float]:
    few, many = QUEUES
    medians = statistics.median(short) * 1e6, statistics.median(long) * 1e6
    return {
        f"{what} {few}": medians[0],
        f"{what} {many:,}": medians[1],
        "ratio" if what == "tracker" else "ratio ": medians[1] / medians[0],
        f"{what} {many:,} p99": statistics.quantiles(long, n=100)[98] * 1e6,
    }


@contextmanager
def locations(store: str) -> Iterator[Iterator[str]]:
    """Yield the locations of empty stores."""
    with tempfile.TemporaryDirectory() as folder:
        if store == "sqlite":
            yield (f"{folder}/{number}.sqlite3" for number in count())
        elif store == "redis":
            server = RedisServer(Path(folder))
            try:
                yield (f"{server.url}?prefix={number}" for number in count())
            finally:
                server.kill()
        else:
            yield (store for _ in count())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=["sqlite", "redis", "memory"], default="sqlite")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with locations(options.store) as stores:
        timings, submits = asyncio.run(measure(stores))
    operations = rows(*timings)
    callers = [{"callers": callers, "submits a second": rate} for callers, rate in submits.items()]
    show(f"Operations with {QUEUES[0]} and {QUEUES[1]:,} waiting jobs, store {options.store}, µs", operations)
    show(f"Durable submits behind {QUEUES[1]:,} waiting jobs", callers)
    write_json(options.json, {"store": options.store, "operations": operations, "callers": callers})


if __name__ == "__main__":
    main()
