"""Measures where processor time goes, with one job and with many. py-spy samples every process of ours.

The processor time of a process is divided among parts of the work in proportion to the samples of its Python
threads. torch's own threads give no samples. Their work is attributed to the parts that do have samples,
unless `--engine-threads 1` leaves torch no threads of its own.
"""

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.load import closed_loop
from benchmarks.end_to_end.processes import family, processor_seconds, role
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Server
from benchmarks.end_to_end.sizes import Size

SEED = 300
SAMPLES_PER_SECOND = 50
ATTACH_SECONDS = 15.0
"""Seconds that py-spy needs to read the symbols of a process."""
ENDING_SECONDS = 30.0

PARTS: tuple[tuple[str, str], ...] = (
    ("deployments/codec/files/writing.py", "encoding"),
    ("deployments/codec/files/file_work.py", "encoding"),
    ("deployments/codec/engine.py", "decoding"),
    ("GeneratorEngine.start", "conditioning"),
    ("deployments/generator/engine.py", "denoising"),
    ("deployments/language_model/vllm_engine/guidance_processor.py", "LM: sampling"),
    ("execute_model", "LM: forward"),
    ("vllm/", "LM: vLLM's own"),
    ("deployments/language_model/", "LM: replica"),
    ("pickle", "serialisation"),
    ("serialization", "serialisation"),
    ("serve_app/jobs/", "tracker and runners"),
    ("serve_app/api/", "HTTP and parsing"),
    ("uvicorn/", "HTTP and parsing"),
    ("starlette/", "HTTP and parsing"),
    ("ray/serve/", "Serve's calls"),
)
"""Pairs of (text that a stack contains, part of the work). The first pair that matches counts."""
OTHER = "Ray and the rest"
NOT_SAMPLED = "processes without Python"
WAITING = frozenset(
    {
        "Condition.wait",
        "Event.wait",
        "Queue.get",
        "Poller.poll",
        "EpollSelector.select",
        "_PollLikeSelector.select",
        "_worker",
        "Worker.main_loop",
    }
)
"""Functions in which a thread only waits, although py-spy may take it for busy."""
SAMPLED = ("Codec", "Generator", "LanguageModel")
"""Processes that must give samples. Without them the benchmark fails."""

Stacks = Mapping[str, int]
"""Number of samples by stack, written as `outer;inner;innermost`."""


def profiles(server: Server, size: Size, report: Report, folder: Path) -> None:
    """Report tables of processor time by process and by part, and write the stacks into `folder`."""
    shortest = size.durations[0]
    by_process: dict[int, dict[str, float]] = {}
    by_part: dict[int, dict[str, float]] = {}
    for jobs in size.profiled_jobs:
        requests = mix.songs(jobs, (shortest, shortest + 2), SEED + jobs)
        with sampled(server.pid, folder / f"stacks-{jobs}") as stacks:
            before = processor_seconds(server.pid)
            asyncio.run(closed_loop(server.url, requests, jobs))
            after = processor_seconds(server.pid)
        if missing := [name for name in SAMPLED if not stacks.get(name)]:
            raise RuntimeError(f"py-spy took no samples of {missing}: see the logs in {folder}")
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
        by_process[jobs] = spent
        by_part[jobs] = divided(spent, stacks)
    report.table("Processor seconds by process", _rows("process", by_process))
    report.table("Processor seconds by part", _rows("part", by_part))


def divided(spent: Mapping[str, float], stacks: Mapping[str, Stacks]) -> dict[str, float]:
    """Divide the seconds `spent` by each process among parts of the work, in proportion to its `stacks`."""
    parts: dict[str, float] = {}
    for process, seconds in spent.items():
        found: Counter[str] = Counter()
        for stack, samples in stacks.get(process, {}).items():
            if not _waits(stack):
                found[part_of(stack)] += samples
        found = found or Counter({OTHER if process in stacks else NOT_SAMPLED: 1})
        for part, samples in found.items():
            parts[part] = parts.get(part, 0.0) + seconds * samples / found.total()
    return parts


def part_of(stack: str) -> str:
    """Return the part of the work that a stack belongs to."""
    return next((part for fragment, part in PARTS if fragment in stack), OTHER)


def read_stacks(text: str) -> Counter[str]:
    """Parse py-spy's format `raw` and drop stacks with damaged names.

    py-spy does not stop the process that it reads, so a name may contain anything, even line ends.
    """
    stacks: Counter[str] = Counter()
    for stack, samples in re.findall(r"^(.+) (\d+)$", text, re.MULTILINE):
        stacks[stack] += int(samples)
    return stacks


@contextmanager
def sampled(pid: int, folder: Path) -> Iterator[dict[str, Counter[str]]]:
    """Sample a process and its present descendants.

    After the block the result holds their stacks by role. Processes that are not Python, such as some of
    Ray's, give none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spies: list[tuple[str, Path, subprocess.Popen[bytes]]] = []
    stacks: dict[str, Counter[str]] = {}
    try:
        for process in family(pid):
            with suppress(psutil.Error):
                name = role(process)
                file = folder / f"{name.replace(' ', '-')}-{process.pid}.txt"
                spies.append((name, file, _spy(process.pid, file)))
        time.sleep(ATTACH_SECONDS)
        yield stacks
    finally:
        for _, _, spy in spies:
            spy.send_signal(signal.SIGINT)
        for _, _, spy in spies:
            _end(spy)
    for name, file, _ in spies:
        if file.exists():
            stacks.setdefault(name, Counter()).update(read_stacks(file.read_text()))


def _spy(pid: int, file: Path) -> "subprocess.Popen[bytes]":
    options = ["--format", "raw", "--rate", str(SAMPLES_PER_SECOND), "--nonblocking"]
    with file.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [
                str(Path(sys.executable).with_name("py-spy")),
                "record",
                *options,
                "-p",
                str(pid),
                "-o",
                str(file),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _end(spy: "subprocess.Popen[bytes]") -> None:
    try:
        spy.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        spy.kill()
        spy.wait()


def _waits(stack: str) -> bool:
    innermost = stack.rpartition(";")[2]
    return innermost.partition(" ")[0] in WAITING


def _rows(kind: str, by_jobs: Mapping[int, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return rows, sorted by the figures with the most jobs, largest first."""
    most = by_jobs[max(by_jobs)]
    names = sorted(
        {name for spent in by_jobs.values() for name in spent}, key=lambda name: -most.get(name, 0.0)
    )
    return [
        {kind: name, **{f"{jobs} jobs": spent.get(name, 0.0) for jobs, spent in by_jobs.items()}}
        for name in names
        if any(spent.get(name, 0.0) >= 0.01 for spent in by_jobs.values())
    ]
