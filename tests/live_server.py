"""The real application, started once for all integration tests: `serve run` on the embedded default."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from configs.settings import PROJECT_ROOT
from serve_app.local_server import local_server

JOB_TIMEOUT_SECONDS = 240
READY_TIMEOUT_SECONDS = 180


@dataclass(frozen=True)
class Client:
    """A user of the running server."""

    http: httpx.Client
    audio_in: Path
    pid: int
    """Of `serve run`, the parent of all processes of the server."""

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
            if job["status"] in {"succeeded", "failed"}:
                return job
        raise AssertionError(f"job {job_id} did not end within {JOB_TIMEOUT_SECONDS} s: {job}")

    def make(self, **fields: Any) -> dict[str, Any]:
        """Submit and wait; the result of a job that must succeed."""
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

    def audio(self, path: str) -> bytes:
        return self.http.get(path).raise_for_status().content


def embedded_config(port: int, folder: Path) -> dict[str, Any]:
    """serve_config.yaml on another port, with its files in `folder`."""
    config = yaml.safe_load((PROJECT_ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    arguments = config["applications"][0]["args"]
    arguments["api"]["audio_roots"] = [str(folder / "audio_in")]
    arguments["storage"] = {"uri": str(folder / "output")}
    return config


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "audio_in").mkdir()
    with local_server(embedded_config(free_port(), folder), folder / "serve.log") as running:
        running.wait_until_ready(lambda _seconds, _waiting_for: None)
        with httpx.Client(base_url=running.url, timeout=120) as http:
            yield Client(http, folder / "audio_in", running.process.pid)
