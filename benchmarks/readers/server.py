"""The server that is read: tiny models, limits that refuse no client, and an empty application beside it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.end_to_end.our_settings import UNLIMITED
from benchmarks.end_to_end.servers import administer, embedded_config, empty_application
from benchmarks.peers.song_request import SongRequest
from benchmarks.tiny_models import TINY_MODELS
from serve_app.jobs.batches import MAX_BATCH
from serve_app.jobs.model import JobState
from serve_app.local_server import LocalServer, local_server

EMPTY_PREFIX = "/empty"
NOTHING = f"{EMPTY_PREFIX}/nothing"
"""The path of an answer that costs as little as Serve's own parts."""
LONG_POLL_SECONDS = 30
SHORT_REQUESTS = 500
"""Requests for which there is room beside those of the waiting clients."""
LOOK_SECONDS = 0.2
LIMIT_SECONDS = 600.0
"""How long anything may take."""


@dataclass(frozen=True)
class Jobs:
    """The jobs of a running server, as its operator and a client see them."""

    http: httpx.Client
    pid: int
    """Process id of `serve run`, the ancestor of all processes of the server."""
    config: Path
    """A config file for the operator's commands, which know one application in a file."""

    @property
    def port(self) -> int:
        return self.http.base_url.port or 80

    def pause(self) -> None:
        """Let jobs be submitted, and none begin."""
        administer(self.pid, "pause", self.config)

    def resume(self) -> None:
        administer(self.pid, "resume", self.config)

    def submit(self, requests: Sequence[SongRequest]) -> list[str]:
        """Return the ids of new jobs."""
        return [self._submitted(request) for request in requests]

    def ended(self, job_id: str) -> dict[str, Any]:
        """Wait for the end of a job and return it. Raises RuntimeError unless it has succeeded."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not JobState((job := self._changed(job_id))["status"]).is_final:
            if time.monotonic() > deadline:
                raise RuntimeError(f"job {job_id} did not end in {LIMIT_SECONDS:g} s")
        if job["status"] != JobState.SUCCEEDED:
            raise RuntimeError(f"job {job_id} has {job['status']}: {job['error']}")
        return job

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs; those that have ended stay as they are."""
        for job_id in job_ids:
            answer = self.http.delete(f"/v1/jobs/{job_id}")
            if answer.status_code != httpx.codes.CONFLICT:
                answer.raise_for_status()

    @contextmanager
    def queued(self, requests: Sequence[SongRequest]) -> Iterator[list[str]]:
        """Submit many jobs, yield their ids, and cancel them after the block, when no job begins any more."""
        parts = [requests[start : start + MAX_BATCH] for start in range(0, len(requests), MAX_BATCH)]
        batches = [self._submitted_batch(part) for part in parts]
        try:
            yield [job["job_id"] for batch in batches for job in batch["jobs"]]
        finally:
            self.pause()
            for batch in batches:
                self.http.delete(f"/v1/batches/{batch['batch_id']}").raise_for_status()

    def _submitted(self, request: SongRequest) -> str:
        answer = self.http.post("/v1/music/generate", json=request.model_dump())
        job_id: str = answer.raise_for_status().json()["job_id"]
        return job_id

    def _submitted_batch(self, requests: Sequence[SongRequest]) -> dict[str, Any]:
        body = {"requests": [request.model_dump() for request in requests]}
        batch: dict[str, Any] = self.http.post("/v1/music/batch", json=body).raise_for_status().json()
        return batch

    def _changed(self, job_id: str) -> dict[str, Any]:
        """Return the job at its next change or after a while, so that few questions are asked meanwhile."""
        answer = self.http.get(f"/v1/jobs/{job_id}", params={"wait": LONG_POLL_SECONDS})
        job: dict[str, Any] = answer.raise_for_status().json()
        return job


@contextmanager
def running_server(folder: Path, clients: int) -> Iterator[Jobs]:
    """Start a server that this many clients may read, with its files in an empty `folder`."""
    folder.mkdir()
    config, operators = readers_config(folder, clients), folder / "operators.yaml"
    operators.write_text(yaml.safe_dump(config))
    config["applications"].append(empty_application(1, EMPTY_PREFIX))
    with (
        local_server(config, folder / "serve.log") as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        server.wait_until_ready(lambda _seconds, _waiting_for: None)
        _wait_for_the_empty_application(server, http)
        yield Jobs(http, server.process.pid, operators)


def readers_config(folder: Path, clients: int) -> dict[str, Any]:
    """Return the config without the empty application."""
    config = embedded_config(folder)
    (application,) = config["applications"]
    arguments = application["args"]
    arguments["models"] = TINY_MODELS.model_dump(mode="json", include={"source", "folder"})
    arguments["jobs"] |= dict.fromkeys(("queue_limit", "client_jobs", "client_rate"), UNLIMITED)
    arguments["api"] |= {"open_requests": clients + SHORT_REQUESTS, "client_requests": clients}
    (ingress,) = (entry for entry in application["deployments"] if entry["name"] == "Ingress")
    ingress["max_ongoing_requests"] = clients + 2 * SHORT_REQUESTS
    return config


def _wait_for_the_empty_application(server: LocalServer, http: httpx.Client) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while http.get(NOTHING).status_code != httpx.codes.OK:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the empty application did not start: see {server.log_file}")
        time.sleep(LOOK_SECONDS)
