"""What the HTTP API asks of the rest of the server."""

from typing import Protocol

from serve_app.api.schemas import GenerateRequest
from serve_app.jobs.model import Accepted, JobState, JobView, NewJob, TrackerStats


class UnavailableError(Exception):
    """What answers for the jobs is being replaced: trying again will help."""


class JobService(Protocol):
    """Jobs in and out. The HTTP code knows nothing else of the server.

    Methods that ask the job tracker raise StoreError or UnavailableError while it cannot answer.
    """

    async def submit(self, new: NewJob) -> Accepted:
        """Put a job in line. Raises LimitError or IdempotencyConflictError."""

    async def view(self, job_id: str) -> JobView | None:
        """A job as it stands; None where the id is unknown."""

    async def cancel(self, job_id: str) -> JobView | None:
        """End a job; None where the id is unknown. Raises JobEndedError where it succeeded or failed."""

    async def page(self, client: str, state: JobState | None, before: int, limit: int) -> list[JobView]:
        """Jobs of a client with a sequence below `before`, newest first."""

    async def wait(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """The job once its version is another than given, at the latest after `timeout` seconds."""

    async def wait_stage(self, job_id: str, state: str, stage: str, timeout: float) -> JobView | None:
        """The job once its state or stage is another than given, at the latest after `timeout` seconds."""

    async def stats(self) -> TrackerStats: ...

    async def secret(self) -> bytes:
        """What signs tokens; the same on every replica, for as long as the job store lives."""

    async def replicas(self) -> dict[str, int]:
        """Replicas by deployment."""

    async def not_ready(self) -> list[str]:
        """Names of the deployments that a default request needs and that cannot serve now."""

    async def prompt_fits(self, request: GenerateRequest, code_count: int) -> bool:
        """Whether the LM's context holds a request's prompt and `code_count` codes; True while it is down."""
