"""Deletes ended jobs that an operator selects, like the janitor: files first, records after them."""

from dataclasses import dataclass, field

from serve_app.jobs.housekeeping.janitor import BATCH, Janitor
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.requeue import NOT_TIDY
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.tracker import JobTracker

UNKNOWN = "there is no such job"
NOT_ENDED = "it has not ended: cancel it first"
NOT_DELETED = "the storage did not delete its files"


@dataclass(frozen=True)
class Purge:
    """The selection: the jobs named, or all that meet the conditions, one page of the store per step."""

    job_ids: tuple[str, ...] | None = None
    ended_before: float = 0.0
    """Epoch seconds."""
    client: str | None = None
    state: JobState | None = None
    below: int = 0
    """Only jobs with a smaller sequence, so that a step continues where the last one ended."""

    async def page(self, journal: Journal) -> list[Job]:
        """Return the jobs that this step looks at. Raises StoreError."""
        if self.job_ids is not None:
            return list((await journal.get_many(self.job_ids)).values())
        return await journal.page(self.client, self.state, self.below, BATCH)

    def takes(self, job: Job) -> bool:
        """Tell whether to delete a job of the page."""
        if self.job_ids is not None:
            return job.is_deletable
        return job.is_deletable and job.finished_at is not None and job.finished_at <= self.ended_before


@dataclass(frozen=True)
class Purged:
    """The result of one step."""

    job_ids: tuple[str, ...]
    """The jobs that were deleted, or in a dry run would be."""
    file_bytes: int
    """Bytes of these jobs in the storage."""
    kept: dict[str, str] = field(default_factory=dict)
    """Reason by job id, for named jobs that were not deleted and for failures of the storage."""
    next_below: int | None = None
    """`below` of the next step; None after the last."""


async def purge(
    wanted: Purge, dry_run: bool, tracker: JobTracker, journal: Journal, janitor: Janitor
) -> Purged:
    """Carry out one step. Raises StoreError."""
    page = await wanted.page(journal)
    going = [job for job in page if wanted.takes(job)]
    gone = going if dry_run else await janitor.purge(tracker, journal, going)
    ids = {job.job_id for job in gone}
    kept = {job.job_id: NOT_DELETED for job in going if job.job_id not in ids}
    if wanted.job_ids is not None:
        kept |= {
            job.job_id: NOT_TIDY if job.state.is_final else NOT_ENDED for job in page if not job.is_deletable
        }
        kept |= dict.fromkeys(set(wanted.job_ids) - {job.job_id for job in page}, UNKNOWN)
    more = wanted.job_ids is None and len(page) == BATCH
    return Purged(
        job_ids=tuple(ids),
        file_bytes=sum(job.stored_bytes for job in gone),
        kept=kept,
        next_below=page[-1].place.sequence if more else None,
    )
