"""A server under attack: its processes, its memory, and users who repeat requests that fail."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from serve_app.local_server import LocalServer
from tests.chaos.songs import Song

PATIENCE_SECONDS = 300.0
PROCESSES = {
    "ingress": "ServeReplica:acestep:Ingress",
    "language model": "ServeReplica:acestep:LanguageModel",
    "generator": "ServeReplica:acestep:Generator",
    "codec": "ServeReplica:acestep:Codec",
    "tracker": "ray::TrackerProcess",
}
"""For each kind of process, a part of its title."""


@dataclass
class Site:
    """A running server. `roots` are the processes from which all others descend."""

    http: httpx.Client
    url: str
    roots: list[Callable[[], list[int]]]

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Repeat a request until the application answers it, as a user's client would do."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = self.http.request(method, self.url + path, **arguments)
                if answer.status_code < 500:
                    return answer
                problem = f"{answer.status_code} {answer.text[:200]}"
            except httpx.TransportError as error:
                problem = repr(error)
            assert time.monotonic() < deadline, f"{method} {path} got no answer: {problem}"
            time.sleep(0.2)

    def submit(self, song: dict[str, Any], key: str) -> str:
        """Submit a song until it is accepted. All tries together make one job, whose id is returned."""
        answer = self.ask("POST", "/v1/music/generate", json=song, headers={"Idempotency-Key": key})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])

    def job(self, job_id: str, wait: float = 0.0) -> dict[str, Any]:
        answer = self.ask("GET", f"/v1/jobs/{job_id}", params={"wait": wait})
        assert answer.status_code == 200, f"job {job_id} was lost: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Yield a job as it is and after each change, up to its end or the loss of the connection."""
        with (
            suppress(httpx.TransportError),
            self.http.stream("GET", f"{self.url}/v1/jobs/{job_id}/events") as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def finished(self, job_ids: list[str]) -> dict[str, dict[str, Any]]:
        """Return the results of these jobs, all of which must succeed."""
        results = {}
        for job_id in job_ids:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while (job := self.job(job_id, wait=20))["status"] in {"queued", "running"}:
                assert time.monotonic() < deadline, f"job {job_id} does not end: {job}"
            assert job["status"] == "succeeded", job
            results[job_id] = job["result"]
        return results

    def make(self, songs: list[dict[str, Any]], key: str) -> list[Song]:
        """Return the songs that the undisturbed server makes of these requests."""
        job_ids = [self.submit(song, f"{key}-{index}") for index, song in enumerate(songs)]
        results = self.finished(job_ids)
        return [Song.of(self, results[job_id]) for job_id in job_ids]

    def ended(self, job_ids: list[str]) -> int:
        """Return how many of these jobs neither wait nor run."""
        return sum(self.job(job_id)["status"] not in {"queued", "running"} for job_id in job_ids)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self.ask("GET", "/health")
            try:
                answer = self.http.get(f"{self.url}/ready")
                if answer.status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, f"not ready again: {answer.text}"
            time.sleep(0.5)

    def processes(self) -> list[psutil.Process]:
        found = []
        for root in [pid for roots in self.roots for pid in roots()]:
            try:
                process = psutil.Process(root)
                found += [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self, kind: str) -> bool:
        """Send SIGKILL to one process of a kind. Return False when none is running."""
        for process in self.of_kind(kind):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                return True
        return False

    def of_kind(self, kind: str) -> Iterator[psutil.Process]:
        """Yield the processes of a kind."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if PROCESSES[kind] in " ".join(process.cmdline()):
                    yield process

    def kill_all(self) -> None:
        """Send SIGKILL to all processes at once."""
        processes = self.processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=30)

    def memory_bytes(self) -> int:
        """Return the bytes of all processes together. Shared memory counts once."""
        total = 0
        for process in self.processes():
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return total


def site_of(server: LocalServer, http: httpx.Client) -> Site:
    """Return the site of a server that has become ready."""
    server.wait_until_ready(lambda _seconds, _waiting_for: None)
    return Site(http, server.url, [lambda: [server.process.pid]])
