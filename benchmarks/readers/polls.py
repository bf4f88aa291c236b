"""Measures polls of a queued, a running and an ended job beside an application that does nothing.

All answers come through the same proxy, and the kinds of jobs take turns, so that other programs on the
machine slow them down equally.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.processes import family, role
from benchmarks.end_to_end.statistics import percentile
from benchmarks.measuring import measured
from benchmarks.plain_http import Connection, connect, get
from benchmarks.readers.runner import claimed_job
from benchmarks.readers.server import NOTHING, Jobs
from benchmarks.readers.sizes import Size

TRACKER = "TrackerProcess"
EMPTY, QUEUED, RUNNING, ENDED = "empty application", "queued job", "running job", "ended job"
SHORT_SONGS = 4
"""Jobs that wait when the runner of this benchmark claims one: more than the server's own runners take."""
SONG_SECONDS = 10


@dataclass
class Polls:
    """All answers about one kind of job to one number of clients."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answer."""
    client_seconds: float = 0.0
    """Processor time of the clients."""
    tracker_seconds: float = 0.0
    """Processor time of the tracker's process."""

    @property
    def rate(self) -> float:
        """Return the answers a second."""
        return len(self.latencies) / self.seconds

    def p_ms(self, share: float) -> float:
        """Return the milliseconds that a `share` of the answers do not exceed."""
        return 1000 * percentile(self.latencies, share)

    def for_1_000(self, total: float) -> float:
        """Return the part of a total of all answers that falls to 1,000 of them."""
        return 1000 * total / len(self.latencies)


def polls(jobs: Jobs, size: Size) -> list[dict[str, Any]]:
    """Return a row for each kind of job and number of clients."""
    (tracker,) = (process for process in family(jobs.pid) if role(process) == TRACKER)
    with _paths(jobs) as paths:
        return [
            row
            for clients in size.polling_clients
            for row in rows(clients, _in_turns(jobs.port, tracker, paths, clients, size))
        ]


def rows(clients: int, of_kinds: Mapping[str, Polls]) -> list[dict[str, Any]]:
    """Return a row for each kind of job. The empty application asks nothing of the tracker."""
    empty = of_kinds[EMPTY]
    idle_rate = empty.tracker_seconds / empty.seconds
    return [
        {
            "clients": clients,
            "polls of": kind,
            "a second": of_kind.rate,
            "of the empty one's": of_kind.rate / empty.rate,
            "p50, ms": of_kind.p_ms(0.5),
            "p99, ms": of_kind.p_ms(0.99),
            "p50 above the empty one's, ms": of_kind.p_ms(0.5) - empty.p_ms(0.5),
            "tracker, s for 1,000": of_kind.for_1_000(of_kind.tracker_seconds - idle_rate * of_kind.seconds),
            "clients, s for 1,000": of_kind.for_1_000(of_kind.client_seconds),
        }
        for kind, of_kind in of_kinds.items()
    ]


@contextmanager
def _paths(jobs: Jobs) -> Iterator[dict[str, str]]:
    """Bring a job into each state, and yield what is asked for each kind. No job begins during the block."""
    jobs.pause()
    made = jobs.submit([mix.one_song(SONG_SECONDS, seed) for seed in range(SHORT_SONGS)])
    with claimed_job(jobs.pid, jobs.config) as running:
        ended = [job_id for job_id in made if job_id != running]
        for job_id in ended:
            jobs.ended(job_id)
        jobs.pause()
        queued = jobs.submit([mix.one_song(SONG_SECONDS, SHORT_SONGS)])
        of_kinds = {QUEUED: queued[0], RUNNING: running, ENDED: ended[0]}
        yield {EMPTY: NOTHING} | {kind: f"/v1/jobs/{job_id}" for kind, job_id in of_kinds.items()}
        jobs.cancel([*queued, running])


def _in_turns(
    port: int, tracker: psutil.Process, paths: Mapping[str, str], clients: int, size: Size
) -> dict[str, Polls]:
    found = {kind: Polls() for kind in paths}
    for _ in range(size.poll_rounds):
        for kind, path in paths.items():
            of_kind = found[kind]
            before = _processor_time(tracker)
            cost, latencies = measured(partial(answer_times, port, path, clients, size.poll_seconds))
            of_kind.tracker_seconds += _processor_time(tracker) - before
            of_kind.seconds += cost.seconds
            of_kind.client_seconds += cost.processor_seconds
            of_kind.latencies += latencies
    return found


def answer_times(port: int, path: str, clients: int, seconds: float) -> list[float]:
    """Return the seconds of each answer to clients that ask again as soon as they have been answered."""
    return asyncio.run(_answer_times(port, path, clients, seconds))


async def _answer_times(port: int, path: str, clients: int, seconds: float) -> list[float]:
    times: list[float] = []

    async def repeat(connection: Connection, until: float) -> None:
        ended = 0.0
        while ended < until:
            began = time.perf_counter()
            await get(connection, path)
            ended = time.perf_counter()
            times.append(ended - began)

    connections = [await connect(port, number) for number in range(clients)]
    try:
        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(repeat(connection, time.perf_counter() + seconds))
    finally:
        for _, writer in connections:
            writer.close()
    return times


def _processor_time(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
