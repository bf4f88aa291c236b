"""Defines how much a whole run and a quick one do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Clients, jobs and times of the sections."""

    clients: int
    """Clients that wait for news of jobs."""
    polling_clients: tuple[int, ...]
    """Numbers of clients that poll as fast as they are answered."""
    poll_seconds: float
    """How long one kind of job is polled before it is another one's turn."""
    poll_rounds: int
    idle_seconds: float
    """How long a server without clients is observed."""
    wait_seconds: float
    """How long the waiting clients are observed: whole periods of a long poll."""
    songs: int
    """Jobs that are made while clients wait."""
    song_rounds: int


FULL = Size(
    clients=2_000,
    polling_clients=(1, 32),
    poll_seconds=5,
    poll_rounds=4,
    idle_seconds=20,
    wait_seconds=60,
    songs=40,
    song_rounds=3,
)

QUICK = Size(
    clients=200,
    polling_clients=(1, 32),
    poll_seconds=2,
    poll_rounds=2,
    idle_seconds=5,
    wait_seconds=30,
    songs=8,
    song_rounds=1,
)
