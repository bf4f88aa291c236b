"""Measures how long songs take while nobody waits for news, and while many clients do.

Each client waits for a job of its own, most of them for one that is queued behind the songs; a client whose
song is made waits for another job then. So as many wait at the end as at the beginning.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.end_to_end import mix
from benchmarks.helper_process import Helper
from benchmarks.peers.song_request import SongRequest
from benchmarks.readers.clients import LONG_POLLS, STREAMS, until_begun, waiting_clients
from benchmarks.readers.server import Jobs
from benchmarks.readers.sizes import Size

DURATIONS = (10, 12)
SEED = 100
NOBODY = "nobody"
ORDER = (NOBODY, STREAMS, LONG_POLLS, NOBODY)
"""The order of the turns in a round.

Those without clients come first and last, so that a change of the machine's speed affects all kinds.
"""


@dataclass(frozen=True)
class Turn:
    """One time that all songs were made."""

    seconds: float
    """Seconds from the begin of the first song to the end of the last one."""
    news: int = 0
    """The number of answers that all clients together got, counted from the first answer to each of them."""


def generation(jobs: Jobs, size: Size) -> list[dict[str, Any]]:
    """Return a row for each kind of clients."""
    jobs.resume()
    for job_id in jobs.submit(mix.songs(2, DURATIONS, 0)):
        jobs.ended(job_id)
    turns: dict[str, list[Turn]] = defaultdict(list)
    for number in range(size.song_rounds):
        songs = mix.songs(size.songs, DURATIONS, SEED + number)
        for index, kind in enumerate(ORDER):
            # Each turn has the same work with other words, so that no prompt is in a cache.
            requests = mix.reworded(songs, len(ORDER) * number + index)
            turns[kind].append(_turn(jobs, requests, kind, size.clients))
    return rows(size.songs, size.clients, turns)


def rows(songs: int, clients: int, turns: Mapping[str, Sequence[Turn]]) -> list[dict[str, Any]]:
    """Return a row for each kind of clients, with the means of its turns."""
    means = {kind: fmean(turn.seconds for turn in of_kind) for kind, of_kind in turns.items()}
    return [
        {
            "waiting": kind if kind == NOBODY else f"{clients} {kind}",
            "jobs": songs,
            "seconds": means[kind],
            "of each turn": ", ".join(f"{turn.seconds:.1f}" for turn in of_kind),
            "generation lost, %": 100 * (1 - means[NOBODY] / means[kind]),
            "news": round(fmean(turn.news for turn in of_kind)),
        }
        for kind, of_kind in turns.items()
    ]


def _turn(jobs: Jobs, requests: Sequence[SongRequest], kind: str, clients: int) -> Turn:
    jobs.pause()
    songs = jobs.submit(requests)
    with (
        jobs.queued([mix.one_song(DURATIONS[0], seed) for seed in range(clients)]) as behind,
        _clients(jobs.port, kind, clients, [*songs, *behind]) as waiting,
    ):
        jobs.resume()
        ended = [jobs.ended(job_id) for job_id in songs]
        jobs.pause()
    last_end: float = max(job["finished_at"] for job in ended)
    first_start: float = min(job["started_at"] for job in ended)
    return Turn(last_end - first_start, int(waiting.told) if waiting else 0)


@contextmanager
def _clients(port: int, kind: str, clients: int, followed: Sequence[str]) -> Iterator[Helper | None]:
    if kind == NOBODY:
        yield None
        return
    with waiting_clients(port, kind, clients, followed) as waiting:
        until_begun(waiting)
        yield waiting
