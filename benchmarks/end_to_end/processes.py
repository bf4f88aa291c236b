"""Measures the memory and processor time of a server's processes.

Shared pages are divided among their users.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

SAMPLE_SECONDS = 15.0
"""Seconds between two samples of the memory. One sample takes some 10 ms for each process."""
ALL = "all"
MIB = 1 << 20


def role(process: psutil.Process) -> str:
    """Return what a process is for: `Codec`, `TrackerProcess`, `raylet` and so on."""
    title = " ".join(process.cmdline()) or process.name()
    first = title.split()[0]
    if first.startswith("ray::"):
        # Ray shows `ray::ServeReplica:acestep:Codec.decode`. The method that currently runs is removed.
        return first.removeprefix("ray::").rsplit(":", 1)[-1].partition(".")[0]
    words = title.split()
    if "-m" in words[1:-1]:
        return words[words.index("-m") + 1]
    script = next((Path(word).name for word in words[1:] if word.endswith((".py", "/serve"))), "")
    return script or Path(first).name


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all of its descendants."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def memory(pid: int) -> dict[str, int]:
    """Return the proportional set size in bytes for each role."""
    found: dict[str, int] = {}
    for process in family(pid):
        with suppress(psutil.Error):
            name = role(process)
            found[name] = found.get(name, 0) + process.memory_full_info().pss
    return found


def processor_seconds(pid: int) -> dict[str, float]:
    """Return the processor time so far for each role."""
    found: dict[str, float] = {}
    for process in family(pid):
        with suppress(psutil.Error):
            times, name = process.cpu_times(), role(process)
            found[name] = found.get(name, 0.0) + times.user + times.system
    return found


def processor_share(pid: int, seconds: float) -> dict[str, float]:
    """Measure for `seconds`, and return the percentage of a core that each role takes."""
    before = processor_seconds(pid)
    began = time.monotonic()
    time.sleep(seconds)
    after = processor_seconds(pid)
    passed = time.monotonic() - began
    return {name: 100 * (spent - before.get(name, 0.0)) / passed for name, spent in after.items()}


@contextmanager
def watched_memory(pid: int) -> Iterator[dict[str, int]]:
    """Record the largest proportional set size of each role, and of all together, during the block."""
    peaks: dict[str, int] = {}
    over = threading.Event()

    def watch() -> None:
        while True:
            with suppress(psutil.Error):
                sizes = memory(pid)
                for name, size in [*sizes.items(), (ALL, sum(sizes.values()))]:
                    peaks[name] = max(size, peaks.get(name, 0))
            if over.wait(SAMPLE_SECONDS):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def memory_table(at_rest: dict[str, int], at_peak: dict[str, int]) -> list[dict[str, Any]]:
    """Return rows in MiB, largest first, and the sum."""
    at_rest = at_rest | {ALL: sum(at_rest.values())}
    names = sorted(at_rest | at_peak, key=lambda name: (name == ALL, -at_rest.get(name, 0)))
    return [
        {
            "process": name,
            "at rest, MiB": at_rest.get(name, 0) / MIB,
            "at peak, MiB": at_peak.get(name, at_rest.get(name, 0)) / MIB,
        }
        for name in names
    ]
