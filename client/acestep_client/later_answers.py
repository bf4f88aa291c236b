"""Answers about usage, batches and purged jobs, which only servers of the newest release give."""

from pydantic import Field

from acestep_client.answers import Answer, JobStatus, Submitted


class EngineSeconds(Answer):
    """Seconds of the stages of jobs, by the engine that worked."""

    language_model: float
    generator: float
    codec: float


class EndedJobs(Answer):
    """Jobs by the status in which they ended."""

    succeeded: int
    failed: int
    cancelled: int


class Used(Answer):
    """The amounts that were used in a time."""

    jobs: EndedJobs
    audio_seconds: float
    """Seconds of the songs that were made."""
    codes: int
    """Audio codes that the language model wrote."""
    engine_seconds: EngineSeconds


class UsedInDay(Used):
    """The amounts that were used on one day, in UTC."""

    day: str
    """The date: `2026-11-29`."""


class Budget(Answer):
    """The amount that an API key may use in a day."""

    audio_seconds_per_day: float
    left: float
    """Seconds of music that are left today."""
    resets_at: float
    """Epoch seconds at which the budget is whole again."""


class Usage(Answer):
    """The amounts that the caller used, by day and together."""

    first_day: str = Field(alias="from")
    last_day: str = Field(alias="to")
    days: list[UsedInDay]
    """The days on which jobs ended."""
    total: Used
    budget: Budget | None = None
    """None for a key without one."""


class SubmittedBatch(Answer):
    """Jobs that entered the queue together."""

    batch_id: str
    jobs: list[Submitted]
    """In the order of the requests."""


class BatchJob(Answer):
    """A job of a batch."""

    job_id: str
    status: JobStatus


class BatchCounts(EndedJobs):
    """Jobs by their status."""

    queued: int
    running: int


class BatchSnapshot(Answer):
    """A batch as it stands."""

    batch_id: str
    is_ended: bool
    """Whether all of its jobs have ended."""
    deleted: int
    """Jobs that have expired or were purged."""
    counts: BatchCounts
    """The other jobs."""
    jobs: list[BatchJob]
    """In the order of the requests."""


class Purged(Answer):
    """A job that is deleted."""

    job_id: str
    complete: bool
    """Whether all is gone. Else a runner has to let go of the job first."""
