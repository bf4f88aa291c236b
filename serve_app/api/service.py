"""What the HTTP API asks of the rest of the server."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Accepted, JobState, JobView, NewJob, TrackerStats
from serve_app.request.schemas import GenerateRequest


class UnavailableError(Exception):
    """What answers for the jobs is being replaced: trying again will help."""


class Readiness(StrEnum):
    """Of one part of the server."""

    READY = "ready"
    BUSY = "busy"
    """Healthy, without room for a question at the moment: work waits for it."""
    SCALED_TO_ZERO = "scaled to zero"
    """Work makes it start."""
    STARTING = "starting"
    """From zero: work waits for it."""
    AWAY = "away"


@dataclass(frozen=True)
class Condition:
    """How the server is."""

    mode: Mode | None
    """None while the job tracker is away."""
    parts: Mapping[str, Readiness]
    """The job tracker and the deployments that a default request needs."""

    @property
    def away(self) -> list[str]:
        """The parts without which no job gets done."""
        return [name for name, readiness in self.parts.items() if readiness is Readiness.AWAY]


class JobService(Protocol):
    """Jobs in and out. The HTTP code knows nothing else of the server.

    Methods that ask the job tracker raise StoreError or UnavailableError while it cannot answer.
    """

    async def new_job_id(self) -> str:
        """An id that no job has."""

    async def submit(self, new: NewJob) -> Accepted:
        """Put a job in line. Raises DrainingError, LimitError or IdempotencyConflictError."""

    async def admit(self, client: str, idempotency_key: str | None) -> None:
        """Refuse a request before it costs work, where `submit` would refuse it now. Nothing is reserved.

        Raises DrainingError or LimitError.
        """

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
        """Running replicas by deployment."""

    async def condition(self) -> Condition:
        """What can serve now. Raises nothing."""

    async def prompt_fits(self, request: GenerateRequest, code_count: int) -> bool:
        """Whether the LM's context holds a request's prompt and `code_count` codes; True while it is down."""
