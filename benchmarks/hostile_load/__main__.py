"""Measures songs, `/health` and memory of the embedded default: idle, with songs, and with songs under siege.

`python -m benchmarks.hostile_load [--json FILE]`

Six bodies of 8 MB, 1,000 event streams, 50 slow readers and 16 long uploads come at once (strangers.py),
while ten songs are made. No job may lose its lease, and `/health` may take 50 ms longer at the 99th
percentile than while the songs are made without them.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from benchmarks.end_to_end.processes import family, role
from benchmarks.end_to_end.statistics import percentile
from benchmarks.measuring import show, write_json
from benchmarks.song_server import result_of
from configs.settings import PROJECT_ROOT
from serve_app.local_server import LocalServer, local_server

SONGS, SECONDS = 10, 10
IDLE_SECONDS = 10.0
HEALTH_PAUSE_SECONDS = 0.05
HEALTH_TIMEOUT_SECONDS = 10.0
HEALTH_LIMIT_MS = 50.0
LIMIT_SECONDS = 180.0
"""Seconds that the songs may take."""
POLL_SECONDS = 0.5
SAMPLE_SECONDS = 1.0
LOSSES = ("attempt_ended", "lease_lost", "lease_not_watched")
"""Events in the logs of the tracker and the runners that report a lost attempt."""
MIB = 1 << 20
SONG = {"audio_duration": SECONDS, "batch_size": 1, "thinking": True}
DOWNLOADED = {"audio_duration": 120, "batch_size": 1, "audio_format": "wav"}
FOLLOWED = {"audio_duration": 10, "batch_size": 1}


def main() -> int:
    """Print the tables. Return 1 when a lease was lost, a song failed or `/health` became slow."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = options.parse_args()
    figures = measure()
    show("GET /health", figures["health"])
    show("Resident memory of each process", figures["memory"])
    show("What the strangers were answered", figures["answers"])
    print(f"\nattempts that ended without a song: {figures['lost attempts']}")
    if chosen.json:
        write_json(chosen.json, figures)
    alone, besieged = (row["p99, ms"] for row in figures["health"][1:])
    slow = besieged - alone > HEALTH_LIMIT_MS
    missing = any(row["songs"] < SONGS for row in figures["health"][1:])
    return int(slow or missing or figures["lost attempts"] > 0)


def measure() -> dict[str, Any]:
    """Start a server and return its tables. "lost attempts" counts attempts that made no song."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with local_server(_config(folder), folder / "serve.log") as server:
            server.wait_until_ready(lambda _seconds, _waiting_for: None)
            return _phases(server)


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "serve_config.yaml").read_text())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config["http_options"]["port"] = listener.getsockname()[1]
    arguments = config["applications"][0]["args"]
    arguments["jobs"] = {"store": str(folder / "jobs.sqlite3")}
    arguments["storage"] = {"uri": str(folder / "output")}
    return config


def _phases(server: LocalServer) -> dict[str, Any]:
    health: list[dict[str, Any]] = []
    with httpx.Client(base_url=server.url, timeout=120) as http:
        downloaded = result_of(http, _submit(http, DOWNLOADED))["first_audio_path"]
        with _health("idle", server, health):
            time.sleep(IDLE_SECONDS)
        with _health("songs", server, health), _memory(server) as peaks_alone:
            alone = _finished(server, [_submit(http, SONG) for _ in range(SONGS)])
        jobs = [_submit(http, SONG) for _ in range(SONGS)]
        followed = _submit(http, FOLLOWED)
        with (
            _besieged(server, followed, downloaded) as answers,
            _health("songs under siege", server, health),
            _memory(server) as peaks,
        ):
            besieged = _finished(server, jobs)
    health[1] |= alone
    health[2] |= besieged
    memory = [
        {"process": name, "with songs, MiB": peaks_alone.get(name, 0) / MIB, "under siege, MiB": peak / MIB}
        for name, peak in sorted(peaks.items(), key=lambda item: -item[1])
    ]
    told = [{"request": kind, "count": number} for kind, number in sorted(answers.items())]
    lost = _lost_attempts(server)
    return {"health": health, "memory": memory, "answers": told, "lost attempts": lost}


def _lost_attempts(server: LocalServer) -> int:
    """Return how many attempts lost their lease or failed, according to the log."""
    logs = set()
    for process in family(server.process.pid):
        with suppress(psutil.Error):
            logs |= {Path(file.path) for file in process.open_files() if "/serve/" in file.path}
    lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
    return sum(any(event in line for event in LOSSES) for line in lines)


def _submit(http: httpx.Client, song: dict[str, Any]) -> str:
    return str(http.post("/v1/music/generate", json=song).raise_for_status().json()["job_id"])


def _finished(server: LocalServer, jobs: Sequence[str]) -> dict[str, Any]:
    """Return how many of the jobs made a song within LIMIT_SECONDS, and how long that took."""
    began = time.monotonic()
    waiting, made = list(jobs), 0
    with httpx.Client(base_url=server.url, timeout=10) as http:
        while waiting and time.monotonic() - began < LIMIT_SECONDS:
            try:
                status = http.get(f"/v1/jobs/{waiting[0]}").raise_for_status().json()["status"]
            except httpx.HTTPError:
                status = "unknown"  # The server is too busy to answer, or refuses the request.
            if status in {"succeeded", "failed", "cancelled"}:
                made += status == "succeeded"
                waiting.pop(0)
            else:
                time.sleep(POLL_SECONDS)
    return {"songs": made, "seconds": time.monotonic() - began}


@contextmanager
def _health(phase: str, server: LocalServer, rows: list[dict[str, Any]]) -> Iterator[None]:
    """Ask for `/health` during the block, and add a row with the response times.

    An error or a missing response counts as HEALTH_TIMEOUT_SECONDS.
    """
    times: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=HEALTH_TIMEOUT_SECONDS) as http:
            while not over.wait(HEALTH_PAUSE_SECONDS):
                began = time.perf_counter()
                with suppress(httpx.HTTPError):
                    if http.get("/health").is_success:
                        times.append(1000 * (time.perf_counter() - began))
                        continue
                times.append(1000 * HEALTH_TIMEOUT_SECONDS)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield
        finally:
            over.set()
        asking.result()
    rows.append(
        {
            "while": phase,
            "answers": len(times),
            "p50, ms": percentile(times, 0.5),
            "p99, ms": percentile(times, 0.99),
            "longest, ms": max(times),
            "songs": 0,
            "seconds": IDLE_SECONDS,
        }
    )


@contextmanager
def _memory(server: LocalServer) -> Iterator[dict[str, int]]:
    """Record the largest resident set of each kind of process during the block, in bytes."""
    peaks: dict[str, int] = {}
    over = threading.Event()

    def watch() -> None:
        while True:
            for process in family(server.process.pid):
                with suppress(psutil.Error):
                    name = role(process)
                    peaks[name] = max(peaks.get(name, 0), process.memory_info().rss)
            if over.wait(SAMPLE_SECONDS):
                return

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield peaks
        finally:
            over.set()
        watching.result()


@contextmanager
def _besieged(server: LocalServer, followed_job: str, song_path: str) -> Iterator[dict[str, int]]:
    """Run a process of strangers during the block. The result holds their answers after the block."""
    answers: dict[str, int] = {}
    port = server.url.rpartition(":")[2]
    command = [sys.executable, "-m", "benchmarks.hostile_load.strangers", port, followed_job, song_path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield answers
    finally:
        told, _ = process.communicate("")
    answers |= json.loads(told)


if __name__ == "__main__":
    raise SystemExit(main())
