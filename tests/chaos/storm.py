"""Runs jobs while processes are killed. Each job must end once, with the music of an undisturbed run."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from tests.chaos.site import PATIENCE_SECONDS, Site
from tests.chaos.songs import Song
from tests.live_server import tiny_config
from tests.ports import free_port

CALM_SECONDS = (0.5, 5.0)
"""Shortest and longest pause in seconds between the loss of a process and the next check of the server."""
STAGES = {
    "language model": "composing",
    "generator": "denoising",
    "codec": "decoding",
}
"""The stage at which the loss of a process does the most harm. For other kinds every moment is equal."""
ENGINES = {
    "language_model": ("planning", "composing"),
    "generator": ("denoising",),
    "codec": ("decoding", "encoding"),
}
"""The stages of each engine in the usage of clients."""
MEMORY_EVERY_SECONDS = 5.0


def chaos_config(folder: Path) -> dict[str, Any]:
    """Return the embedded default with tiny models, short leases and many attempts."""
    config = tiny_config(free_port(), folder)
    arguments = config["applications"][0]["args"]
    arguments["jobs"] |= {"lease_seconds": 6, "max_attempts": 10, "queue_limit": 1000, "client_jobs": 1000}
    arguments["storage"] |= {"sweep_seconds": 2}
    # Songs step alone. Beside songs of other jobs, which differ in each run, they would differ in rounding,
    # and an MP3 encoder amplifies that.
    arguments["generator"]["tokens_per_forward"] = 1
    return config


@dataclass
class Storm:
    """Collects the events of a storm for the printed report."""

    killed: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    """Number of jobs by number of attempts."""
    seconds: float = 0.0
    peak_bytes: int = 0

    def __str__(self) -> str:
        killed = ", ".join(f"{kind} {times}" for kind, times in sorted(self.killed.items()))
        attempts = ", ".join(f"{jobs} in {tries}" for tries, jobs in sorted(self.attempts.items()))
        return (
            f"killed: {killed}; jobs by attempts: {attempts}; {self.seconds:.0f} s; "
            f"peak memory {self.peak_bytes / 2**30:.1f} GB"
        )


def in_turns(kinds: list[str], times: int, chance: random.Random) -> list[str]:
    """Return `times` kinds of processes to kill: all kinds in turn, in another order in each turn."""
    blows: list[str] = []
    while len(blows) < times:
        blows += chance.sample(kinds, len(kinds))
    return blows[:times]


def ride_out(
    site: Site,
    songs: list[dict[str, Any]],
    blows: list[str],
    strike: Callable[[str], bool],
    storage: Path,
    chance: random.Random,
    recovers: bool = True,
) -> tuple[Storm, dict[str, Song]]:
    """Submit the songs in as many portions as there are blows, and strike in the middle of each portion.

    `strike(kind)` returns False when no such process runs; it is tried again. Where the server `recovers`, it
    is ready again before the next blow. Returns the songs by job id, in order.
    """
    storm = Storm()
    started = time.monotonic()
    job_ids: list[str] = []
    with _memory_watched(site, storm):
        for blow, kind in enumerate(blows, 1):
            while len(job_ids) < blow * len(songs) // len(blows):
                job_ids.append(site.submit(songs[len(job_ids)], f"storm-{len(job_ids)}"))
            _wait_for_work(site, job_ids, STAGES.get(kind))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not strike(kind):
                assert time.monotonic() < deadline, f"there is no {kind} to kill"
                time.sleep(0.5)
            storm.killed[kind] += 1
            time.sleep(chance.uniform(*CALM_SECONDS))
            if recovers:
                site.wait_until_ready()
        assert len(set(job_ids)) == len(songs)
        results = site.finished(job_ids)
        storm.seconds = time.monotonic() - started
    for job_id in job_ids:
        storm.attempts[_only_attempt(storage / job_id)] += 1
    return storm, {job_id: Song.of(site, results[job_id]) for job_id in job_ids}


def compare(found: list[Song], expected: list[Song]) -> list[str]:
    """Return every difference between two runs of the same songs."""
    return [
        f"song {index}: {difference}"
        for index, (song, undisturbed) in enumerate(zip(found, expected, strict=True))
        for difference in song.differences(undisturbed)
    ]


def usage_differs(site: Site) -> list[str]:
    """Return each amount of the client's usage that is not the sum over all of its jobs, exactly."""
    query: dict[str, Any] = {"limit": 100}
    jobs: list[dict[str, Any]] = []
    while query.get("cursor", "first"):
        page = site.ask("GET", "/v1/jobs", params=query).json()
        jobs += page["jobs"]
        query["cursor"] = page["next_cursor"]
    used = site.ask("GET", "/v1/usage").json()["total"]
    told = {**used.pop("jobs"), **used.pop("engine_seconds"), **used}
    ended = [job["status"] for job in jobs if job["status"] not in {"queued", "running"}]
    results = [job["result"] for job in jobs if job["result"]]
    summed: dict[str, float] = {state: ended.count(state) for state in ("succeeded", "failed", "cancelled")}
    summed["audio_seconds"] = _thousandths(
        result["duration"] * len(result["audio_paths"]) for result in results
    )
    codes = [text for result in results for text in result["audio_codes"] if text]
    summed["codes"] = sum(text.count("<|audio_code_") for text in codes)
    for engine, stages in ENGINES.items():
        seconds = (result["timings"].get(stage, 0.0) for result in results for stage in stages)
        summed[engine] = _thousandths(seconds)
    return [
        f"{name}: {told[name]} instead of {amount}" for name, amount in summed.items() if told[name] != amount
    ]


def _thousandths(seconds: Iterable[float]) -> float:
    """Return a sum in whole milliseconds, which is the same in any order."""
    return sum(round(1000 * each) for each in seconds) / 1000


def _wait_for_work(site: Site, job_ids: list[str], stage: str | None) -> None:
    """Wait until one of the last jobs runs (at `stage`, if one is given), or until all of them have ended."""
    for job_id in job_ids[-8:]:
        for job in site.follow(job_id):
            if job["status"] == "running" and stage in {None, job["stage"]}:
                return


def _only_attempt(folder: Path) -> int:
    """Return the number of the attempt whose songs were published. No other attempt may have left files."""
    deadline = time.monotonic() + 30
    while len(left := [path.name for path in folder.iterdir()]) != 1:
        assert time.monotonic() < deadline, f"{folder} holds {left}"
        time.sleep(0.5)
    return int(left[0])


@contextmanager
def _memory_watched(site: Site, storm: Storm) -> Iterator[None]:
    over = Event()

    def watch() -> None:
        while not over.wait(MEMORY_EVERY_SECONDS):
            storm.peak_bytes = max(storm.peak_bytes, site.memory_bytes())

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
