"""The jobs and the settings of these measurements. Nothing is refused, and no lease expires."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from configs.settings import Settings
from serve_app.jobs.model import Client, NewJob
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.request.work import Work

CLIENTS = 1_000
SPEC = JobSpec(GenerateRequest(caption="calm piano", lyrics="la la la la\n" * 40), seeds=(1, 2))
WORK = Work(1, (1.0,) * 5, (0.0, 300.0, 960.0, 120.0, 120.0), (0.0, 150.0, 480.0, 60.0, 60.0))
RESULT: dict[str, Any] = {
    "timings": {"planning": 1.0, "composing": 3.0, "denoising": 5.0, "decoding": 1.0, "encoding": 0.5}
}


def new_jobs(group: int) -> Iterator[NewJob]:
    """Yield jobs of many clients; each group has ids of its own."""
    for number in count():
        job_id = f"{group:08}-0000-4000-8000-{number:012}"
        yield NewJob(job_id, SPEC, WORK, Client(f"client {number % CLIENTS}"))


def settings(folder: Path, store: str, tracker_name: str = "growth") -> Settings:
    """Return settings with limits that no measurement reaches."""
    jobs: dict[str, Any] = {
        "store": store,
        "tracker_name": tracker_name,
        "queue_limit": 10**9,
        "client_jobs": 10**9,
        "client_rate": 10**9,
        "client_bytes": 10**15,
        "lease_seconds": 10**6,
    }
    return Settings(jobs=jobs, storage={"uri": str(folder / "songs")})
