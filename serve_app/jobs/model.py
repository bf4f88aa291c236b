"""A job: what was asked, where it stands, what came of it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from serve_app.jobs.mode import Mode
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec
from serve_app.request.work import Work


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in {JobState.QUEUED, JobState.RUNNING}


@dataclass(frozen=True)
class Client:
    """Who asks: an API key's name, or a network address where the server has no keys."""

    name: str = ""
    weight: float = 1.0
    """Its share of the server while others wait, too, relative to theirs."""


@dataclass(frozen=True)
class IdempotencyKey:
    """The client's name for one request, and a digest of what it asked."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class NewJob:
    """A job that asks to enter the line."""

    job_id: str
    spec: JobSpec
    work: Work
    client: Client = field(default_factory=Client)
    priority: int = 0
    """Jobs of a higher one go first."""
    uploaded_bytes: int = 0
    """Of recordings that were stored for this job."""
    idempotency: IdempotencyKey | None = None
    traceparent: str | None = None
    """W3C context of the span of its submit; None where the job is not traced."""


class Place(NamedTuple):
    """Where a job stands in the line; decided once, so that a retry returns to it."""

    rank: int
    """Minus the job's priority."""
    start: float
    """Virtual time at which a fair server would begin it (`serve_app.jobs.queue.fairness`)."""
    sequence: int
    """How many jobs were submitted before it."""
    finish: float = 0.0
    """Virtual time at which it would end: the client's next job starts no sooner."""


@dataclass(frozen=True)
class Checkpoint:
    """The results of a job's finished stages: the next attempt goes on from here."""

    plan: SongPlan | None = None
    codes: tuple[tuple[int, ...] | None, ...] | None = None
    """One entry per batch item; None before they are composed."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds of the stages done so far."""


@dataclass(frozen=True)
class Callback:
    """The delivery of a job's end to `callback_url`."""

    due_at: float
    attempts: int = 0


@dataclass(frozen=True)
class Job:
    """One record of the job store."""

    job_id: str
    spec: JobSpec
    work: Work
    place: Place
    created_at: float
    """Epoch seconds of the wall clock, like all times here but `lease_expires_at`."""
    client: str = ""
    uploaded_bytes: int = 0
    idempotency: IdempotencyKey | None = None
    state: JobState = JobState.QUEUED
    stage: str = "queued"
    progress: float = 0.0
    """0…1 over the whole job."""
    started_at: float | None = None
    finished_at: float | None = None
    attempt: int = 0
    """Counts up: each attempt has a folder of its own. One that was handed back counts as none."""
    forgiven: int = 0
    """Attempts before an operator put the job back in line: they do not count against the limit."""
    lease_token: str | None = None
    lease_expires_at: float | None = None
    """On the clock of durations of the tracker that gave the lease; a restarted one gives a new lease."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    result: dict[str, Any] | None = None
    error: str | None = None
    files: tuple[str, ...] = ()
    """Storage URIs of the results, one per batch item; empty again when they have expired."""
    file_bytes: int = 0
    tidy_at: float | None = None
    """From when on what the job need not keep in the storage may be deleted; None once it is."""
    callback: Callback | None = None
    """The delivery still to be made; None where there is none, or no more."""
    traceparent: str | None = None
    """W3C context of the span of its submit; None where the job is not traced."""
    queued_at: float | None = None
    """When it last came into line; None in records of earlier releases."""
    claimed_at: float | None = None
    """When its newest attempt began."""
    submitted_at: float | None = None
    """When it was submitted, by `clocks.CautiousClock`; None in records of earlier releases."""

    @classmethod
    def queued(cls, new: NewJob, place: Place, created_at: float, submitted_at: float) -> "Job":
        """A job that has just entered the line."""
        return cls(
            job_id=new.job_id,
            spec=new.spec,
            work=new.work,
            place=place,
            created_at=created_at,
            client=new.client.name,
            uploaded_bytes=new.uploaded_bytes,
            idempotency=new.idempotency,
            traceparent=new.traceparent,
            queued_at=created_at,
            submitted_at=submitted_at,
        )

    def leased(self, token: str, now: float, expires_at: float) -> "Job":
        """The job in the hands of a runner; `now` is of the wall clock."""
        return self.with_(
            state=JobState.RUNNING,
            stage="planning",
            started_at=now if self.started_at is None else self.started_at,
            attempt=self.attempt + 1,
            lease_token=token,
            lease_expires_at=expires_at,
            claimed_at=now,
        )

    def waiting_again(self) -> "Job":
        """The job without its runner."""
        return self.with_(
            state=JobState.QUEUED, stage="queued", progress=0.0, lease_token=None, lease_expires_at=None
        )

    def with_(self, **changes: Any) -> "Job":
        """A copy with some fields changed."""
        return replace(self, **changes)

    @property
    def ages_from(self) -> float:
        """When it was submitted, on a scale that nobody sets where the record has it."""
        return self.created_at if self.submitted_at is None else self.submitted_at

    @property
    def counted_attempts(self) -> int:
        """Those that count against `jobs.max_attempts`."""
        return self.attempt - self.forgiven

    @property
    def is_open(self) -> bool:
        """Whether anything is left to do for this job, even after its end."""
        return not self.state.is_final or self.tidy_at is not None or self.callback is not None

    @property
    def may_go(self) -> bool:
        """Whether nobody writes or deletes files of this job: it can be forgotten, a callback or not."""
        return self.state.is_final and self.tidy_at is None

    @property
    def stored_bytes(self) -> int:
        """What the job takes of the audio storage."""
        return self.uploaded_bytes + self.file_bytes


@dataclass(frozen=True)
class JobView:
    """What a poll sees: the job, without what only its runner needs, and its place among the others."""

    job_id: str
    client: str
    sequence: int
    state: JobState
    stage: str
    progress: float
    created_at: float
    started_at: float | None
    finished_at: float | None
    attempt: int
    result: dict[str, Any] | None
    error: str | None
    audio_format: str
    files: tuple[str, ...]
    queue_position: int
    """1-based while queued, else 0."""
    eta_seconds: float | None
    avg_job_seconds: float

    @classmethod
    def of(
        cls, job: Job, queue_position: int, eta_seconds: float | None, avg_job_seconds: float
    ) -> "JobView":
        return cls(
            job_id=job.job_id,
            client=job.client,
            sequence=job.place.sequence,
            state=job.state,
            stage=job.stage,
            progress=job.progress,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            attempt=job.attempt,
            result=job.result,
            error=job.error,
            audio_format=job.spec.request.audio_format,
            files=job.files,
            queue_position=queue_position,
            eta_seconds=eta_seconds,
            avg_job_seconds=avg_job_seconds,
        )

    @property
    def version(self) -> str:
        """Changes with everything that `GET /v1/jobs/{id}/events` reports; the same on every replica."""
        return f"{self.attempt}-{self.state}-{self.stage}-{self.progress:.4f}-{self.queue_position}"


@dataclass(frozen=True)
class Accepted:
    """The answer to a submit."""

    job_id: str
    """Of the earlier job, where an idempotency key named one."""
    state: JobState
    queue_position: int


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
    mode: Mode = Mode.OPEN
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Mean seconds per stage over recent jobs."""
