"""Deletes what the audio storage and the job store need not keep: bounded by time and by bytes.

Files go first and records after them: a crash at any point leaves nothing that the next sweep does not find.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from configs.settings import StorageSettings
from deployments.job_log import about
from serve_app.jobs.journal import Journal
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.tracker import JobTracker
from serve_app.storage import AudioStorage

logger = logging.getLogger("ray.serve")

BATCH = 200
"""Jobs of one step; between two steps others have their turn."""
SCAN_SECONDS = 600.0
"""How often the storage is searched for folders of jobs that never were."""
ABANDONED_SECONDS = 3600.0
"""A folder without a record is younger while its job is being submitted."""


class Janitor:
    """Housekeeping for one tracker and its storage."""

    def __init__(self, storage: AudioStorage, settings: StorageSettings, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._scanned_at: float | None = None

    async def sweep(self, tracker: JobTracker, journal: Journal) -> None:
        """Delete what is due. Raises StoreError; what can't be deleted is tried again by the next sweep."""
        await self._tidy(tracker, journal)
        await self._expire_files(tracker, journal)
        await self._expire_records(tracker, journal)
        if self._scanned_at is None or self._clock() - self._scanned_at >= SCAN_SECONDS:
            self._scanned_at = self._clock()
            await self._delete_unknown(journal)

    async def purge(self, tracker: JobTracker, jobs: Sequence[Job]) -> list[Job]:
        """Delete files and records of ended jobs now; those for which it worked."""
        deleted = await self._deleted(jobs, lambda job: self._storage.delete_job(job.job_id))
        tracker.ended.records_expired(deleted)
        return deleted

    async def _tidy(self, tracker: JobTracker, journal: Journal) -> None:
        """Of ended jobs everything but the songs.

        Only where the end is durable: after a crash of the tracker the job would run again, and need its
        recordings.
        """
        untidy = [job for job in tracker.ended.untidy() if journal.is_written(job.job_id)]
        for job in await self._deleted(untidy, self._tidy_one):
            tracker.ended.tidied(job.job_id)

    def _tidy_one(self, job: Job) -> None:
        if job.state is JobState.SUCCEEDED:
            self._storage.delete_all_but(job.job_id, job.files)
        else:
            self._storage.delete_job(job.job_id)

    async def _expire_files(self, tracker: JobTracker, journal: Journal) -> None:
        """Songs that are too old, then the oldest ones for as long as all take too much."""
        while True:
            await journal.settle()
            now = self._clock()
            old = await journal.ended(now - self._settings.result_seconds, True, BATCH)
            surplus = (
                tracker.ended.stored_bytes - sum(job.file_bytes for job in old) - self._settings.max_bytes
            )
            if surplus > 0 and len(old) < BATCH:
                oldest = await journal.ended(now, True, BATCH)
                old += _enough(oldest[len(old) :], surplus)
            deleted = await self._deleted(old, lambda job: self._storage.delete_job(job.job_id))
            tracker.ended.files_expired(deleted)
            if len(deleted) < BATCH:
                return

    async def _expire_records(self, tracker: JobTracker, journal: Journal) -> None:
        while True:
            await journal.settle()
            before = self._clock() - self._settings.record_seconds
            old = await journal.ended(before, False, BATCH)
            if len(await self.purge(tracker, old)) < BATCH:
                return

    async def _delete_unknown(self, journal: Journal) -> None:
        """Folders of requests that the server did not live to put in line."""
        found = iter(await asyncio.to_thread(self._storage.job_ids))
        while batch := list(islice(found, BATCH)):
            for job_id in await journal.unknown(batch):
                await asyncio.to_thread(self._delete_abandoned, job_id)

    def _delete_abandoned(self, job_id: str) -> None:
        try:
            if self._clock() - self._storage.last_change(job_id) > ABANDONED_SECONDS:
                self._storage.delete_job(job_id)
        except FileNotFoundError:
            pass  # whoever submitted it was refused meanwhile, and deleted it
        except OSError:
            logger.exception("the storage did not let go of what job %s left", job_id, extra=about(job_id))

    async def _deleted(self, jobs: Sequence[Job], delete: Callable[[Job], None]) -> list[Job]:
        """Run `delete` for each job; those for which it worked."""

        def work() -> list[Job]:
            return [job for job in jobs if self._worked(job, delete)]

        return await asyncio.to_thread(work) if jobs else []

    @staticmethod
    def _worked(job: Job, delete: Callable[[Job], None]) -> bool:
        try:
            delete(job)
        except OSError:
            logger.exception(
                "the storage did not delete files of job %s; trying again",
                job.job_id,
                extra=about(job.job_id),
            )
            return False
        return True


def _enough(oldest: Iterable[Job], surplus: int) -> list[Job]:
    """As many of the oldest jobs as take `surplus` bytes together."""
    taken = []
    for job in oldest:
        if surplus <= 0:
            break
        taken.append(job)
        surplus -= job.file_bytes
    return taken
