"""A job: what was asked, where it stands, what came of it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from serve_app.api.schemas import GenerateRequest


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Recording:
    """A source or reference recording, copied into the audio storage at submit."""

    uri: str
    seconds: float


@dataclass(frozen=True)
class JobSpec:
    """A valid request, with all that chance decides already decided: a retry makes the same music."""

    request: GenerateRequest
    seeds: tuple[int, ...]
    """One per batch item."""
    codes: tuple[tuple[int, ...], ...] = ()
    """Audio codes that the user gave, one run per batch item; empty where none count."""
    source: Recording | None = None
    reference: Recording | None = None
    notes: tuple[str, ...] = ()
    """Sentences for `status_message` about fields that have no effect in this job."""


@dataclass(frozen=True)
class Job:
    """One record of the job store."""

    job_id: str
    spec: JobSpec
    sequence: int
    """Place in the line: jobs run in this order, a retry keeps it."""
    created_at: float
    """Epoch seconds, like all times here."""
    state: JobState = JobState.QUEUED
    stage: str = "queued"
    progress: float = 0.0
    """0…1 over the whole job."""
    started_at: float | None = None
    finished_at: float | None = None
    attempt: int = 0
    lease_token: str | None = None
    lease_expires_at: float | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    files: tuple[str, ...] = ()
    """Storage URIs of the results, one per batch item."""

    def with_(self, **changes: Any) -> "Job":
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class JobView:
    """What a poll sees: the job and its place among the others."""

    job: Job
    queue_position: int
    """1-based while queued, else 0."""
    eta_seconds: float | None
    avg_job_seconds: float


@dataclass(frozen=True)
class Claim:
    """The right of one runner to run one job until the lease ends."""

    job: Job
    token: str


@dataclass(frozen=True)
class TrackerStats:
    """Counts for /v1/stats."""

    jobs: dict[str, int]
    queue_limit: int
    avg_job_seconds: float
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Mean seconds per stage over recent jobs."""
