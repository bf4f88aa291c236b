"""Defines how much each section does in a whole benchmark, a quick one and a mere trial."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Jobs, lengths and times of the sections."""

    durations: tuple[int, int]
    """Seconds of the shortest and the longest song of the mix."""
    jobs: dict[int, int]
    """Maps the number of concurrent clients to the number of jobs that they share."""
    mixed_clients: int
    """Concurrent clients of the mix in which half of the jobs use `thinking`."""
    mixed_jobs: int
    """Jobs that these clients share."""
    open_jobs: int
    overhead_jobs: int
    lengths: tuple[int, ...]
    """Seconds of the songs that show how the cost grows with length."""
    request_clients: int
    request_seconds: float
    """Seconds for which submits are counted, and then polls."""
    watchers: int
    watched_clients: int
    watched_jobs: int
    watched_rounds: int
    profiled_jobs: tuple[int, ...]
    """Numbers of concurrent jobs that are profiled."""
    idle_seconds: float
    settle_seconds: float
    """Seconds to wait before idle processes are measured."""


FULL = Size(
    durations=(10, 60),
    jobs={1: 3, 8: 16, 16: 16},
    mixed_clients=4,
    mixed_jobs=4,
    open_jobs=4,
    overhead_jobs=3,
    lengths=(10, 60, 240, 600),
    request_clients=32,
    request_seconds=10,
    watchers=50,
    watched_clients=6,
    watched_jobs=6,
    watched_rounds=1,
    profiled_jobs=(1, 16),
    idle_seconds=45,
    settle_seconds=15,
)

QUICK = Size(
    durations=(10, 12),
    jobs={1: 2, 8: 8},
    mixed_clients=2,
    mixed_jobs=2,
    open_jobs=2,
    overhead_jobs=2,
    lengths=(10, 30),
    request_clients=16,
    request_seconds=5,
    watchers=50,
    watched_clients=4,
    watched_jobs=4,
    watched_rounds=1,
    profiled_jobs=(1, 16),
    idle_seconds=10,
    settle_seconds=5,
)

TINY = Size(
    durations=(6, 8),
    jobs={1: 1, 2: 2},
    mixed_clients=2,
    mixed_jobs=1,
    open_jobs=2,
    overhead_jobs=1,
    lengths=(6, 12),
    request_clients=4,
    request_seconds=1,
    watchers=4,
    watched_clients=2,
    watched_jobs=2,
    watched_rounds=1,
    profiled_jobs=(1, 2),
    idle_seconds=2,
    settle_seconds=1,
)
