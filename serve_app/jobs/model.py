"""The data of jobs: the record in the store, and what clients and runners get to see of it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from serve_app.jobs.mode import Mode
from serve_app.jobs.usage import Counted
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec
from serve_app.request.work import Work

PROVENANCE = "provenance"
"""The key of a result under which it is kept how each song was made. Polls leave it out, because it has an
endpoint of its own."""


class JobState(StrEnum):
    """The state of a job; `serve_app.jobs.tracker` lists the transitions."""

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
    """The owner of jobs: the name of an API key, or a network address if the server has no keys."""

    name: str = ""
    weight: float = 1.0
    """Its share of the server, relative to other clients with queued jobs."""
    audio_seconds_per_day: float | None = None
    """The seconds of music that it may make in a day (UTC); None: any number."""


@dataclass(frozen=True)
class IdempotencyKey:
    """The client's name for one request, and a digest of the request."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class NewJob:
    """A job to be submitted."""

    job_id: str
    spec: JobSpec
    work: Work
    client: Client = field(default_factory=Client)
    priority: int = 0
    """Jobs of a higher priority are claimed first."""
    uploaded_bytes: int = 0
    """Bytes of the recordings that were stored for this job."""
    idempotency: IdempotencyKey | None = None
    traceparent: str | None = None
    """W3C context of the span of its submit; None where the job is not traced."""
    request_id: str | None = None
    """`X-Request-ID` of its submit; None if that had none."""


class Steps(NamedTuple):
    """How much of a stage is done, in units of its own, by the song that has the most left."""

    done: int
    total: int


class Place(NamedTuple):
    """The sort key of the queue. It is computed at the submit, so a requeued job returns to its place."""

    rank: int
    """Minus the job's priority."""
    start: float
    """Virtual time at which a fair server would begin the job (`serve_app.jobs.queue.fairness`)."""
    sequence: int
    """Number of jobs submitted before this one."""
    finish: float = 0.0
    """Virtual time at which the job would end: the client's next job does not start earlier."""


@dataclass(frozen=True)
class Checkpoint:
    """The results of a job's finished stages, from which its next attempt goes on."""

    plan: SongPlan | None = None
    codes: tuple[tuple[int, ...] | None, ...] | None = None
    """Audio codes by item; None before they are composed."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds by finished stage."""


@dataclass(frozen=True)
class Callback:
    """A delivery to `callback_url` that is still to be made."""

    due_at: float
    attempts: int = 0


@dataclass(frozen=True)
class BatchMember:
    """The batch that a job was submitted in (`serve_app.jobs.batches`)."""

    batch_id: str
    callback_url: str | None = None
    """The address that is told when all jobs of the batch have ended; None: nobody is told."""


@dataclass(frozen=True)
class Job:
    """The record of a job in the store."""

    job_id: str
    spec: JobSpec
    work: Work
    place: Place
    created_at: float
    """Epoch seconds of the wall clock, like all times here except `lease_expires_at` and `submitted_at`."""
    client: str = ""
    uploaded_bytes: int = 0
    idempotency: IdempotencyKey | None = None
    state: JobState = JobState.QUEUED
    stage: str = "queued"
    progress: float = 0.0
    """0…1 over the whole job, of its last attempt."""
    steps: Steps | None = None
    """The steps of its stage; None where the stage has none, or has just begun."""
    best_progress: float = 0.0
    """The greatest progress of all attempts. Polls see it, so what they see never falls."""
    started_at: float | None = None
    finished_at: float | None = None
    attempt: int = 0
    """Number of the last attempt, which names its folder in the storage; released ones do not count."""
    forgiven: int = 0
    """Attempts before an operator requeued the job; they do not count against `jobs.max_attempts`."""
    lease_token: str | None = None
    lease_expires_at: float | None = None
    """A time of the steady clock in the tracker's process; a restarted tracker gives a new lease."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    result: dict[str, Any] | None = None
    error: str | None = None
    files: tuple[str, ...] = ()
    """Storage URIs of the songs by item; empty after they have expired."""
    file_bytes: int = 0
    tidy_at: float | None = None
    """Earliest time to delete files that the job need not keep; None once they are deleted."""
    callback: Callback | None = None
    """The delivery that is still to be made; None if there is none left."""
    traceparent: str | None = None
    """W3C context of the span of its submit; None where the job is not traced."""
    queued_at: float | None = None
    """When it was last queued; None in records of earlier releases."""
    claimed_at: float | None = None
    """When its last attempt began."""
    submitted_at: float | None = None
    """Time of its submit by `clocks.CautiousClock`; None in records of earlier releases."""
    start_by: float | None = None
    """When it fails unless it has begun; None if it may wait, and once it has begun."""
    keep_until: float | None = None
    """When it is deleted by its own request (`keep_seconds`); None before its end, and if it did not ask."""
    request_id: str | None = None
    """`X-Request-ID` of its submit; None if unknown."""
    counted: Counted | None = None
    """Its share in the usage of its client; None before its end, and if it ended in an earlier release."""
    batch: BatchMember | None = None
    """None for a job that was submitted alone."""
    batch_callback: Callback | None = None
    """The delivery about its batch that is still to be made; only the job that ended last has one."""
    purged: bool = False
    """Whether its client has purged it: clients do not see it, and what is left of it is being deleted."""

    @classmethod
    def queued(
        cls,
        new: NewJob,
        place: Place,
        created_at: float,
        submitted_at: float,
        batch: BatchMember | None = None,
    ) -> "Job":
        """Make the record of a new job."""
        within = new.spec.request.start_within_seconds
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
            request_id=new.request_id,
            batch=batch,
            queued_at=created_at,
            submitted_at=submitted_at,
            start_by=None if within is None else created_at + within,
        )

    def claimed(self, token: str, now: float, expires_at: float) -> "Job":
        """Return the record of the job under a runner's lease; `now` is a time of the wall clock."""
        return self.with_(
            state=JobState.RUNNING,
            stage="planning",
            steps=None,
            started_at=now if self.started_at is None else self.started_at,
            attempt=self.attempt + 1,
            lease_token=token,
            lease_expires_at=expires_at,
            claimed_at=now,
            start_by=None,
        )

    @property
    def shown_progress(self) -> float:
        """The progress that polls see; records of earlier releases have no best one."""
        return max(self.progress, self.best_progress)

    def requeued(self) -> "Job":
        """Return the record of the job without its lease, queued again."""
        return self.with_(
            state=JobState.QUEUED,
            stage="queued",
            progress=0.0,
            steps=None,
            best_progress=self.shown_progress,
            lease_token=None,
            lease_expires_at=None,
        )

    def with_(self, **changes: Any) -> "Job":
        """Return a copy with some fields changed. Raises TypeError for a name that is no field.

        Most changes of a job make a copy, and `dataclasses.replace` would call `__init__` with all fields.
        """
        if not changes.keys() <= self.__dict__.keys():
            raise TypeError(f"a job has no {', '.join(changes.keys() - self.__dict__.keys())}")
        copy = object.__new__(Job)
        copy.__dict__.update(self.__dict__, **changes)
        return copy

    def purged_at(self, now: float) -> "Job":
        """Return the record of an ended job of which nothing may remain: it holds no content.

        Its files are deleted from `now` (a time of the wall clock) on, or when its runner has stopped.
        """
        spec = self.spec.without_content() if self.callback else self.spec.without_content_and_callback()
        return self.with_(
            purged=True,
            spec=spec,
            checkpoint=Checkpoint(),
            result=None,
            error=None,
            files=(),
            keep_until=None,
            batch=self.batch if self.batch_callback else None,
            tidy_at=now if self.tidy_at is None else self.tidy_at,
        )

    @property
    def ages_from(self) -> float:
        """When it was submitted: on the scale that nobody can set, if the record has that time."""
        return self.created_at if self.submitted_at is None else self.submitted_at

    @property
    def counted_attempts(self) -> int:
        """Attempts that count against `jobs.max_attempts`."""
        return self.attempt - self.forgiven

    @property
    def is_settled(self) -> bool:
        """Whether the job has ended with nothing left to do: neither files to tidy nor a callback.

        A purged job is never settled, because its record is still to be deleted.
        """
        is_told = self.callback is None and self.batch_callback is None
        return self.state.is_final and self.tidy_at is None and is_told and not self.purged

    @property
    def is_deletable(self) -> bool:
        """Whether the record may be deleted, even before its callback: nobody writes or deletes its files."""
        return self.state.is_final and self.tidy_at is None

    @property
    def stored_bytes(self) -> int:
        """Bytes that the job takes in the audio storage."""
        return self.uploaded_bytes + self.file_bytes


@dataclass(frozen=True)
class JobView:
    """A job as polls see it: without the fields that only runners need, with its position and ETA."""

    job_id: str
    client: str
    sequence: int
    state: JobState
    stage: str
    progress: float
    steps: Steps | None
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
    expires_at: float | None = None
    """When its songs are deleted, or the job itself if it has none; None until it has ended."""

    @classmethod
    def of(
        cls,
        job: Job,
        queue_position: int,
        eta_seconds: float | None,
        avg_job_seconds: float,
        expires_at: float | None,
    ) -> "JobView":
        return cls(
            job_id=job.job_id,
            client=job.client,
            sequence=job.place.sequence,
            state=job.state,
            stage=job.stage,
            progress=job.shown_progress,
            steps=job.steps,
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
            expires_at=expires_at,
        )

    @property
    def version(self) -> str:
        """Differs after every change that `GET /v1/jobs/{id}/events` reports; the same on every replica."""
        return f"{self.attempt}-{self.state}-{self.stage}-{self.progress:.4f}-{self.queue_position}"


@dataclass(frozen=True)
class Quota:
    """The amount that a client has left of one of its limits. All numbers are whole."""

    name: str
    limit: int
    window: int
    """Seconds in which the limit is renewed as a whole."""
    left: int
    whole_in: int
    """Seconds until nothing of it is used any more."""
    unit: str | None = None
    """The unit that is counted; None: requests."""


@dataclass(frozen=True)
class Accepted:
    """The answer to a submit."""

    job_id: str
    """The id of the earlier job if the submit repeats one."""
    state: JobState
    queue_position: int
    quotas: tuple[Quota, ...] = field(default=(), compare=False)
    """The client's limits after the submit."""


@dataclass(frozen=True)
class Claim:
    """A job leased to a runner, which proves the lease by its token."""

    job: Job
    token: str


@dataclass(frozen=True)
class TrackerStats:
    """The numbers of /v1/stats."""

    jobs: dict[str, int]
    queue_limit: int
    avg_job_seconds: float
    mode: Mode = Mode.OPEN
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Mean seconds per stage over recent jobs."""
    no_room: str | None = None
    """Why new jobs are refused: the store takes no writes, or the disk is almost full; else None."""
