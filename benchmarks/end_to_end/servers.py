"""Starts the servers that are compared: ours, the plain one, and an empty Serve application."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
import yaml

from benchmarks.end_to_end.our_settings import engine_arguments, queue_arguments
from configs.settings import PROJECT_ROOT, ModelSettings
from serve_app.local_server import STOP_TIMEOUT_SECONDS, local_server, ray_address

HAPROXY_VARIABLE = "RAY_SERVE_ENABLE_HA_PROXY"


@dataclass(frozen=True)
class Server:
    """A running server that answers the job API."""

    url: str
    pid: int
    """Process id of the ancestor of all its processes."""
    folder: Path
    """Folder with its songs, its job store and its log."""
    start_seconds: float
    """Seconds from the start until it was ready."""
    waits: tuple[tuple[float, str], ...] = ()
    """Reasons for which the server was not ready yet, as (seconds after its start, reason)."""

    @property
    def traces(self) -> Path:
        return self.folder / "traces"


@dataclass(frozen=True)
class Bench:
    """The options with which every server of a run is started."""

    models: ModelSettings
    threads: int
    """Threads of the peers' process."""
    engine_threads: int | None
    """Threads of each of our three engines, which share the same cores."""
    folder: Path
    """Folder for temporary files."""

    def new_folder(self, name: str) -> Path:
        folder = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        return folder


def model_options(bench: Bench) -> list[str]:
    """Return the options that tell the peers' programs their checkpoints.

    Without them they build tiny ones.
    """
    return ["--models", str(bench.models.folder)] if bench.models.source == "folder" else []


def our_config(bench: Bench, folder: Path) -> dict[str, Any]:
    """Return serve_config.yaml with the benchmark's models, files in `folder`, and a trace of every job."""
    config: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = free_port()
    config["applications"][0]["args"] = {
        **engine_arguments(bench.models, bench.engine_threads),
        "jobs": {"store": str(folder / "jobs.sqlite3"), **queue_arguments()},
        "storage": {"uri": str(folder / "output")},
        "tracing": {"exporter": "file", "folder": str(folder / "traces")},
    }
    return config


@contextmanager
def ours(bench: Bench) -> Iterator[Server]:
    """Start our server with `serve run`, as an operator does."""
    folder = bench.new_folder("ours")
    waits: list[tuple[float, str]] = []

    def note(seconds: float, waiting_for: str) -> None:
        if not waits or waits[-1][1] != waiting_for:
            waits.append((seconds, waiting_for))

    with local_server(our_config(bench, folder), folder / "serve.log") as server:
        seconds = server.wait_until_ready(note)
        yield Server(server.url, server.process.pid, folder, seconds, tuple(waits))


def embedded_config(folder: Path) -> dict[str, Any]:
    """Return serve_config.yaml with a free port and with jobs and songs in `folder`."""
    config: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = free_port()
    arguments = config["applications"][0]["args"]
    arguments["jobs"] = {"store": str(folder / "jobs.sqlite3")}
    arguments["storage"] = {"uri": str(folder / "output")}
    return config


def idle_config(replicas: int) -> dict[str, Any]:
    """Return the config of an application that does nothing; one of its replicas answers HTTP."""
    config: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = free_port()
    config["applications"] = [empty_application(replicas, "/")]
    return config


def empty_application(replicas: int, route_prefix: str) -> dict[str, Any]:
    """Return the entry of an application that does nothing, for a config file."""
    return {
        "name": "empty",
        "route_prefix": route_prefix,
        "import_path": "benchmarks.end_to_end.empty:build",
        "runtime_env": {"env_vars": {"PYTHONPATH": str(PROJECT_ROOT)}},
        "args": {"replicas": str(replicas)},
    }


@contextmanager
def idle_replicas(bench: Bench, count: int) -> Iterator[Server]:
    """Start `count` empty replicas behind the same proxy, in a Ray instance of their own."""
    folder = bench.new_folder("empty")
    with local_server(idle_config(count), folder / "serve.log") as server:
        seconds = server.wait_until_ready(lambda _seconds, _waiting_for: None)
        yield Server(server.url, server.process.pid, folder, seconds)


@contextmanager
def plain(bench: Bench) -> Iterator[Server]:
    """Start the FastAPI server in one process."""
    folder = bench.new_folder("plain")
    began = time.monotonic()
    port = free_port()
    options = ["--port", str(port), "--output", str(folder / "output"), "--threads", str(bench.threads)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.server", *options, *model_options(bench)],
            cwd=PROJECT_ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(url, process, folder / "server.log")
        yield Server(url, process.pid, folder, time.monotonic() - began)
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_SECONDS)


@contextmanager
def haproxy(enabled: bool) -> Iterator[None]:
    """Put HAProxy or Serve's Python proxy in front of the servers that are started inside the block."""
    before = os.environ.get(HAPROXY_VARIABLE)
    os.environ[HAPROXY_VARIABLE] = "1" if enabled else "0"
    try:
        yield
    finally:
        del os.environ[HAPROXY_VARIABLE]
        if before is not None:
            os.environ[HAPROXY_VARIABLE] = before


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_answers(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while process.poll() is None:
        try:
            httpx.get(f"{url}/ready").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the plain server did not start: {log.read_text(errors='replace')[-2000:]}")


def pause(server: Server) -> None:
    """Make our server accept jobs without beginning them."""
    administer(server.pid, "pause")


def administer(pid: int, command: Literal["pause", "resume"], config: Path | None = None) -> None:
    """Run a command of `serve_app.admin` for the server whose `serve run` has this process id.

    The commands need a config file with one application; None: that of `serve run`.
    """
    serve = psutil.Process(pid)
    words = [sys.executable, "-m", "serve_app.admin", command, "--address", ray_address(pid)]
    subprocess.run(
        [*words, "--config", str(config or serve.cmdline()[-1])],
        env=serve.environ(),
        check=True,
        capture_output=True,
    )
