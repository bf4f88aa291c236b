"""Measures whether memory, open files and disk of a server stay as they are over many short jobs.

`python -m benchmarks.soak [--jobs 500] [--json FILE]`

The program starts the embedded default, makes songs of one second over HTTP, and prints the resident memory
of every process after a fifth of the jobs and after all. Songs and records expire within seconds. At the end
disk and open files must be back where they were after the warm-up.
"""

import argparse
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from acestep_client import Client, Job, SongFields
from benchmarks.measuring import show, write_json
from configs.settings import PROJECT_ROOT
from serve_app.local_server import local_server
from serve_app.storage import SIGN_INS

WARM_UP = 20
AT_ONCE = 8
RETENTION_SECONDS = 10.0
SETTLE_SECONDS = 30.0
SONG: SongFields = {
    "audio_duration": 1,
    "bpm": 100,
    "key_scale": "C Major",
    "time_signature": "4/4",
    "batch_size": 1,
    "thinking": True,
}


def main() -> int:
    """Print the tables.

    Return 1 when a process grew by more than 5 % and 5 MB, or files or folders are left.
    """
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--jobs", type=int, default=500)
    options.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = _config(folder)
        with local_server(config, folder / "serve.log") as server:
            server.wait_until_ready(lambda _seconds, _waiting_for: None)
            with Client(server.url) as client:
                rows, disk = _soak(client, psutil.Process(server.process.pid), folder / "output", chosen.jobs)
    show("Resident memory and open files of each process", rows)
    show("Disk", disk)
    if chosen.json:
        write_json(chosen.json, {"processes": rows, "disk": disk})
    grew = any(row["growth %"] > 5 and row["growth MB"] > 5 for row in rows)
    leaks = any(row["files after"] > row["files before"] for row in rows)
    (folders,) = disk
    return int(grew or leaks or folders["after retention"] > folders["before"])


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "serve_config.yaml").read_text())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config["http_options"]["port"] = listener.getsockname()[1]
    arguments = config["applications"][0]["args"]
    arguments["jobs"] = {"store": str(folder / "jobs.sqlite3")}
    arguments["storage"] = {
        "uri": str(folder / "output"),
        "result_seconds": RETENTION_SECONDS,
        "record_seconds": 2 * RETENTION_SECONDS,
        "sweep_seconds": 2,
    }
    return config


def _soak(
    client: Client, server: psutil.Process, storage: Path, jobs: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    _make(client, WARM_UP)
    _let_all_expire(client)
    files_before, disk_before = _open_files(server), _folders(storage)
    started = time.monotonic()
    _make(client, jobs // 5)
    early = _resident(server)
    _make(client, jobs - jobs // 5)
    late = _resident(server)
    seconds = time.monotonic() - started
    most = _folders(storage)
    _let_all_expire(client)
    files_after = _open_files(server)
    rows = [
        {
            "process": name,
            f"MB at {jobs // 5}": round(early[pid, name] / 2**20, 1),
            f"MB at {jobs}": round(size / 2**20, 1),
            "growth MB": round((size - early[pid, name]) / 2**20, 1),
            "growth %": round(100 * (size / early[pid, name] - 1), 1),
            "files before": files_before.get(pid, 0),
            "files after": files_after.get(pid, 0),
        }
        for (pid, name), size in late.items()
        if (pid, name) in early
    ]
    if ended := early.keys() - late.keys():
        raise RuntimeError(f"processes ended meanwhile: {', '.join(sorted(name for _, name in ended))}")
    disk = [
        {
            "jobs": jobs,
            "seconds": round(seconds, 1),
            "folders before": disk_before,
            "at the end of the jobs": most,
            "after retention": _folders(storage),
        }
    ]
    return rows, disk


def _make(client: Client, count: int) -> None:
    """Make this many songs, a few at once."""
    waiting: list[Job] = []
    for _ in range(count):
        waiting.append(client.generate(**SONG))
        if len(waiting) >= AT_ONCE:
            waiting.pop(0).wait()
    for job in waiting:
        job.wait()


def _let_all_expire(client: Client) -> None:
    deadline = time.monotonic() + 2 * RETENTION_SECONDS + SETTLE_SECONDS
    while any(client.stats().jobs.values()):
        if time.monotonic() > deadline:
            raise RuntimeError("jobs did not expire")
        time.sleep(1)


def _family(server: psutil.Process) -> list[psutil.Process]:
    return [server, *server.children(recursive=True)]


def _resident(server: psutil.Process) -> Mapping[tuple[int, str], int]:
    """Return the resident bytes of each process."""
    return {(process.pid, _name(process)): process.memory_info().rss for process in _family(server)}


def _open_files(server: psutil.Process) -> dict[int, int]:
    return {process.pid: process.num_fds() for process in _family(server)}


def _name(process: psutil.Process) -> str:
    """Return a name such as `ray::ServeReplica:acestep:Codec`, without the method that currently runs."""
    title = " ".join(process.cmdline()) or process.name()
    return Path(title.split()[0]).name.partition(".")[0] if title.startswith("ray::") else process.name()


def _folders(storage: Path) -> int:
    return sum(path.name != SIGN_INS for path in storage.iterdir()) if storage.exists() else 0


if __name__ == "__main__":
    raise SystemExit(main())
