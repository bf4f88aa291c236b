"""Pytest plugin that starts the real application with `serve run` on tiny models, once for all tests."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from benchmarks.tiny_models import TINY_MODELS
from configs.settings import PROJECT_ROOT
from deployments.checkpoints.adapters.linears import decoder_linears
from deployments.checkpoints.location import checkpoint_folder
from serve_app.api.access.keys import digest_of, new_key
from serve_app.local_server import local_server, ray_address
from serve_app.storage import SIGN_INS
from tests.lanes import group_of
from tests.object_store import ObjectStore
from tests.ports import free_port
from tests.tiny_dits import tiny_turbo_and_base

JOB_TIMEOUT_SECONDS = 240
READY_TIMEOUT_SECONDS = 180


@dataclass(frozen=True)
class Client:
    """A user of the running server."""

    http: httpx.Client
    audio_in: Path
    pid: int
    """Process id of `serve run`, the ancestor of all processes of the server."""

    @property
    def logs(self) -> list[Path]:
        """Return the log files of Serve's processes and of the job tracker."""
        found = set()
        for process in psutil.Process(self.pid).children(recursive=True):
            with suppress(psutil.Error):
                found |= {Path(file.path) for file in process.open_files()}
        return sorted(file for file in found if file.parent.name == "serve" and file.suffix == ".log")

    def admin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `serve_app.admin` against this server, in a shell without Ray's variables."""
        shell = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        serve = psutil.Process(self.pid)
        command = [sys.executable, "-m", "serve_app.admin", *arguments]
        server = ["--address", ray_address(self.pid), "--config", serve.cmdline()[-1]]
        return subprocess.run([*command, *server], capture_output=True, text=True, env=shell, check=False)

    def submit(self, **fields: Any) -> str:
        answer = self.http.post("/v1/music/generate", json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["job_id"]

    def wait(self, job_id: str) -> dict[str, Any]:
        """Poll a job to its end."""
        deadline = time.monotonic() + JOB_TIMEOUT_SECONDS
        job = None
        while time.monotonic() < deadline:
            job = self.http.get(f"/v1/jobs/{job_id}", params={"wait": 30}).raise_for_status().json()
            if job["status"] not in {"queued", "running"}:
                return job
        raise AssertionError(f"job {job_id} did not end within {JOB_TIMEOUT_SECONDS} s: {job}")

    def make(self, **fields: Any) -> dict[str, Any]:
        """Submit a job and wait for it. Return its result; it must succeed."""
        job = self.wait(self.submit(**fields))
        assert job["status"] == "succeeded", job["error"]
        return job["result"]

    def wait_until_ready(self) -> None:
        """Wait until every deployment answers again."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.http.get("/ready").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"the server was not ready again within {READY_TIMEOUT_SECONDS} s")

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self.http.delete(f"/v1/jobs/{job_id}").raise_for_status().json()

    def cancel_all(self) -> int:
        """Cancel this user's jobs that wait or run, and return how many there were."""
        cancelled = 0
        for status in ("queued", "running"):
            while jobs := self.http.get("/v1/jobs", params={"status": status, "limit": 100}).json()["jobs"]:
                # Jobs that end meanwhile answer with 409.
                answers = [self.http.delete(f"/v1/jobs/{job['job_id']}") for job in jobs]
                assert {answer.status_code for answer in answers} <= {200, 409}
                cancelled += sum(answer.status_code == 200 for answer in answers)
        return cancelled

    def audio(self, path: str) -> bytes:
        return self.http.get(path).raise_for_status().content


def embedded_config(port: int, folder: Path) -> dict[str, Any]:
    """Return serve_config.yaml with another port and with its files in `folder`."""
    config = yaml.safe_load((PROJECT_ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    arguments = config["applications"][0]["args"]
    arguments["api"]["audio_roots"] = [str(folder / "audio_in")]
    arguments["storage"] = {"uri": str(folder / "output"), "sweep_seconds": 1}
    arguments["jobs"] = {"store": str(folder / "jobs.sqlite3")}
    return config


def tiny_config(port: int, folder: Path) -> dict[str, Any]:
    """Return the same with the smallest models, for tests that need only the shapes of their results."""
    config = embedded_config(port, folder)
    config["applications"][0]["args"]["models"] = TINY_MODELS.model_dump(
        mode="json", include={"source", "folder"}
    )
    return config


def tiny_adapters(folder: Path) -> Path:
    """Write the adapters `folk` and `jazz` for the smallest DiT into a new folder, and return it."""
    from tests.adapters import write_lora  # This imports torch, which takes seconds.

    config = checkpoint_folder(TINY_MODELS, TINY_MODELS.dits[0]) / "config.json"
    linears = decoder_linears(json.loads(config.read_text()))
    for seed, name in enumerate(("folk", "jazz")):
        write_lora(folder, name, seed, linears)
    return folder


_running = ExitStack()
"""Holds the shared servers."""


def pytest_configure() -> None:
    # Ray runs its workers with niceness 15. Other work on the machine, for example of another test worker,
    # would then keep them from the processor.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_metrics_report_interval_ms", "2000")  # Ray's default is 10 s.
    # Engines in the process of a test are small, and a second thread of OpenMP makes them slower, most of all
    # on a busy machine, where the threads wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Serve's controller looks at every replica ten times a second, which costs a twentieth of a core for each
    # server, also for one that no test uses at the moment.
    os.environ.setdefault("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.4")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop a shared server when no further test uses it.

    One process without xdist runs the tests in any order, so there it stops with the last test.
    """
    in_lanes = "PYTEST_XDIST_WORKER" in os.environ
    if nextitem is None or (in_lanes and group_of(nextitem.nodeid) != group_of(item.nodeid)):
        _running.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Client:
    folder = tmp_path_factory.mktemp("server")
    (folder / "audio_in").mkdir()
    config = tiny_config(free_port(), folder)
    (application,) = config["applications"]
    application["args"]["models"]["adapters"] = [str(tiny_adapters(folder / "adapters"))]
    application["logging_config"] = {"encoding": "JSON"}
    application["args"]["tracing"] = {"exporter": "file", "folder": str(folder / "traces")}
    running = _running.enter_context(local_server(config, folder / "serve.log"))
    running.wait_until_ready(lambda _seconds, _waiting_for: None)
    http = _running.enter_context(httpx.Client(base_url=running.url, timeout=120))
    return Client(http, folder / "audio_in", running.process.pid)


@dataclass(frozen=True)
class GuardedServer:
    """A server with API keys, two DiTs, songs in S3, short songs, a short queue and short timeouts."""

    alice: Client
    bob: Client
    anonymous: httpx.Client
    folder: Path
    object_store: ObjectStore
    bucket: str

    @property
    def log(self) -> str:
        return (self.folder / "serve.log").read_text(errors="replace")

    @property
    def stored(self) -> set[str]:
        """Return the paths of all recordings and songs."""
        return {key for key in self.object_store.keys(self.bucket) if f"{SIGN_INS}/" not in key}


GUARDED_DURATION = 10
GUARDED_QUEUE = 50
BODY_TIMEOUT_SECONDS = 3.0


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, object_store: ObjectStore) -> GuardedServer:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "audio_in").mkdir()
    config = tiny_config(free_port(), folder)
    arguments = config["applications"][0]["args"]
    arguments["models"] = tiny_turbo_and_base(folder / "models").model_dump(mode="json")
    bucket = object_store.new_bucket()
    arguments["storage"] = {"uri": f"s3://{bucket}/audio"}
    keys = {name: new_key() for name in ("alice", "bob")}
    keys_file = folder / "keys.yaml"
    keys_file.touch(0o600)
    entries = [{"name": name, "sha256": digest_of(key)} for name, key in keys.items()]
    keys_file.write_text(yaml.safe_dump(entries))
    arguments["api"] |= {
        "keys_file": str(keys_file),
        "max_duration": GUARDED_DURATION,
        "body_timeout_seconds": BODY_TIMEOUT_SECONDS,
    }
    arguments["language_model"]["lm_max_duration"] = GUARDED_DURATION
    arguments["jobs"]["queue_limit"] = GUARDED_QUEUE
    running = _running.enter_context(local_server(config, folder / "serve.log"))
    running.wait_until_ready(lambda _seconds, _waiting_for: None)

    def http(headers: dict[str, str]) -> httpx.Client:
        return _running.enter_context(httpx.Client(base_url=running.url, timeout=60, headers=headers))

    alice, bob = (
        Client(http({"Authorization": f"Bearer {key}"}), folder / "audio_in", running.process.pid)
        for key in keys.values()
    )
    return GuardedServer(alice, bob, http({}), folder, object_store, bucket)
