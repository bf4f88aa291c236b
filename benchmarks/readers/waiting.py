"""Measures the memory and the processor time that clients cost the server while they wait for news.

Each client waits for a job of its own. The jobs are queued, and none begins.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.processes import ALL, MIB, memory, processor_seconds
from benchmarks.readers.clients import until_begun, waiting_clients
from benchmarks.readers.server import Jobs
from benchmarks.readers.sizes import Size

SONG_SECONDS = 10
SHOWN = ("ProxyActor", "Ingress", "TrackerProcess")
"""The processes that answer the clients."""


@dataclass(frozen=True)
class Moment:
    """The memory and processor time of each kind of process of a server at one moment."""

    time: float
    """Seconds of the monotonic clock."""
    processor_seconds: Mapping[str, float]
    memory: Mapping[str, int]
    """Proportional set sizes in bytes."""

    @classmethod
    def now(cls, pid: int) -> Self:
        """Observe the family of a process."""
        taken, sizes = processor_seconds(pid), memory(pid)
        return cls(
            time.monotonic(),
            taken | {ALL: sum(taken.values())},
            sizes | {ALL: sum(sizes.values())},
        )

    def taken_since(self, before: Self, name: str) -> float:
        """Return the processor seconds that a kind of process has taken since another moment."""
        return self.processor_seconds.get(name, 0.0) - before.processor_seconds.get(name, 0.0)


@dataclass(frozen=True)
class Observed:
    """A server before and while clients wait for news."""

    alone: Moment
    """When the jobs had been submitted."""
    before: Moment
    """Some seconds later, before the first client."""
    begun: Moment
    """When each client had been told something."""
    waited: Moment
    """Some time later, while all clients wait."""

    def beyond_idle(self, start: Moment, end: Moment, name: str) -> float:
        """Return the processor seconds that a kind of process took beyond its rate without clients."""
        idle_rate = self.before.taken_since(self.alone, name) / (self.before.time - self.alone.time)
        return end.taken_since(start, name) - idle_rate * (end.time - start.time)


def waiting(jobs: Jobs, kind: str, size: Size) -> list[dict[str, Any]]:
    """Return a row for each kind of process. The server is new, so no memory is left of other clients."""
    jobs.pause()
    with jobs.queued([mix.one_song(SONG_SECONDS, seed) for seed in range(size.clients)]) as followed:
        alone = Moment.now(jobs.pid)
        time.sleep(size.idle_seconds)
        before = Moment.now(jobs.pid)
        with waiting_clients(jobs.port, kind, size.clients, followed) as clients:
            until_begun(clients)
            begun = Moment.now(jobs.pid)
            time.sleep(size.wait_seconds)
            waited = Moment.now(jobs.pid)
    return rows(kind, size.clients, Observed(alone, before, begun, waited))


def rows(
    kind: str, clients: int, observed: Observed, names: Sequence[str] = (*SHOWN, ALL)
) -> list[dict[str, Any]]:
    """Return a row for each kind of process, and one for all processes of the server."""
    return [{"clients": f"{clients} {kind}", **_row(name, clients, observed)} for name in names]


def _row(name: str, clients: int, observed: Observed) -> dict[str, Any]:
    minutes = (observed.waited.time - observed.begun.time) / 60
    before, with_clients = (moment.memory.get(name, 0) for moment in (observed.before, observed.waited))
    to_begin = observed.beyond_idle(observed.before, observed.begun, name)
    while_waiting = observed.beyond_idle(observed.begun, observed.waited, name)
    return {
        "process": name,
        "before, MiB": round(before / MIB),
        "with the clients, MiB": round(with_clients / MIB),
        "each, KiB": (with_clients - before) / 1024 / clients,
        "to begin, ms of a core each": 1000 * to_begin / clients,
        "waiting, ms of a core each minute": 1000 * while_waiting / clients / minutes,
    }
