"""What the HTTP API asks of the rest of the server."""

from typing import Protocol

from serve_app.api.schemas import GenerateRequest
from serve_app.jobs.model import JobSpec, JobState, JobView, TrackerStats


class JobService(Protocol):
    """Jobs in and out. The HTTP code knows nothing else of the server."""

    async def submit(self, job_id: str, spec: JobSpec) -> int:
        """Put a job in line; its 1-based position. Raises QueueFullError."""

    async def view(self, job_id: str) -> JobView | None:
        """A job as it stands; None where the id is unknown."""

    async def wait(self, job_id: str, state: JobState, stage: str, timeout: float) -> JobView | None:
        """The job once its state or stage is another than given, at the latest after `timeout` seconds."""

    async def stats(self) -> TrackerStats: ...

    async def replicas(self) -> dict[str, int]:
        """Replicas by deployment."""

    async def not_ready(self) -> list[str]:
        """Names of the deployments that a default request needs and that cannot serve now."""

    async def prompt_fits(self, request: GenerateRequest, code_count: int) -> bool:
        """Whether the LM's context holds a request's prompt and `code_count` codes; True while it is down."""
