"""Deletes expired files and records, limited by age and by bytes.

Files are deleted before their records, so the next sweep finds whatever a crash left. Files of another
store's server are never deleted, nor those that only look old because the wall clock was set.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from itertools import islice

from configs.settings import StorageSettings
from deployments.common.job_log import about
from serve_app.jobs.housekeeping.ages import RetentionClock, steady_seconds
from serve_app.jobs.housekeeping.identity import store_name
from serve_app.jobs.housekeeping.leftovers import Leftovers, sign_in, survey
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.observer import StorageState
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.tracker import JobTracker
from serve_app.jobs.usage import days_before
from serve_app.storage import AudioStorage

logger = logging.getLogger("ray.serve")

BATCH = 200
"""Number of jobs in one step; between two steps the event loop does other work."""
SCAN_SECONDS = 600.0
"""Interval at which the storage is searched for folders without a record."""
ABANDONED_SECONDS = 3600.0
"""How long a folder must be without a record before it is deleted: its job may be being submitted."""

ANY_TIME = 1e12
"""Epoch seconds later than any record's, even if the clock was set far ahead."""


UntilKnown = Callable[[Collection[str]], Awaitable[None]]
"""Waits until every process that answers polls knows how some jobs ended."""


async def known_already(_job_ids: Collection[str]) -> None:
    """Return at once, because no other process answers polls."""


class Janitor:
    """Housekeeping for one tracker and its storage.

    `clock` is the wall clock that the times in records come from; `steady` is a clock that cannot be set.
    """

    def __init__(
        self,
        storage: AudioStorage,
        settings: StorageSettings,
        clock: Callable[[], float],
        steady: Callable[[], float] = steady_seconds,
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = RetentionClock(max(settings.result_seconds, settings.record_seconds), clock, steady)
        self._steady = steady
        self._scanned_at: float | None = None
        self._unknown_since: dict[str, float] = {}
        """Steady-clock time at which each of this store's folders was first found without a record."""
        self._is_erased = False
        """Whether nothing of purged jobs is left in the files of the store.

        The process before may have died between the deletion of a record and this.
        """
        self.being_deleted: set[str] = set()
        """Jobs whose folder is being deleted as a whole."""
        self._known_folders = 0
        """Number of folders with a record that the last search found."""
        self._is_new_to_storage = False
        """Whether this store had never signed in to the storage before this process."""
        self.leftovers = Leftovers("")
        """Folders without a record that the last search found."""

    @property
    def state(self) -> StorageState:
        """The anomalies that the last sweep found."""
        return StorageState(self.leftovers.unowned_folders, self._clock.held_back_seconds)

    def wall(self) -> float:
        """Return the wall clock's time, for the records whose ages this janitor will ask for."""
        return self._clock.stamp()

    @property
    def was_set_back(self) -> bool:
        """Whether the wall clock was set back since the storage was last told how it is set."""
        handed_on = self._clock.handed_on
        return handed_on is not None and self._clock.offset < handed_on

    async def sign_in(self, journal: Journal) -> None:
        """Tell other stores and the next process that this store uses the storage.

        A process does so when it starts, because records that it stamps later may be judged by the next one,
        with another setting of the wall clock. Raises StoreError and StorageError.
        """
        name = await _name_of_store(journal)
        is_first = await asyncio.to_thread(sign_in, self._storage, name, self._clock)
        self._is_new_to_storage = self._is_new_to_storage or is_first

    async def sweep(
        self, tracker: JobTracker, journal: Journal, until_known: UntilKnown = known_already
    ) -> None:
        """Delete what is due. Raises StoreError; the next sweep retries what could not be deleted."""
        is_time_to_scan = self._scanned_at is None or self._steady() - self._scanned_at >= SCAN_SECONDS
        if is_time_to_scan or self._clock.handed_on != self._clock.offset:
            await self.sign_in(journal)
        await self._tidy(tracker, journal, until_known)
        self._delete_purged(tracker)
        await self._expire_files(tracker, journal)
        await self._expire_records(tracker, journal)
        await self._expire_kept(tracker, journal)
        await self._trim_cancelled(tracker, journal)
        await self._erase(journal)
        if is_time_to_scan:
            found = await self.survey(journal)
            if self._is_new_to_storage and not self._known_folders:
                self._tell_of_others()
            self._is_new_to_storage = False
            await self._delete_unknown(found.abandoned, journal)
            oldest = days_before(self._clock(), self._settings.usage_days)
            await journal.change_store(lambda store: store.forget_usage(oldest))
            self._scanned_at = self._steady()

    async def survey(self, journal: Journal) -> Leftovers:
        """Search the storage for folders without a record. Raises StoreError and StorageError."""
        name = await _name_of_store(journal)
        found = iter(await asyncio.to_thread(self._storage.job_ids))
        unknown: list[str] = []
        self._known_folders = 0
        while batch := list(islice(found, BATCH)):
            strange = await journal.unknown(batch)
            unknown += sorted(strange)
            self._known_folders += len(batch) - len(strange)
        before = self.leftovers.unowned
        self.leftovers = await asyncio.to_thread(survey, self._storage, name, unknown)
        if self.leftovers.unowned.keys() - before.keys():
            logger.error(
                "the storage holds %d folders of job stores that are not in use (%s); they stay until an "
                "operator deletes them: `python -m serve_app.admin leftovers`",
                self.leftovers.unowned_folders,
                ", ".join(sorted(self.leftovers.unowned)),
                extra={"event": "storage_unowned"},
            )
        return self.leftovers

    def _tell_of_others(self) -> None:
        """Log that a new store finds only folders of other stores: it may be the wrong one."""
        if others := sorted({*self.leftovers.neighbours, *self.leftovers.unowned}):
            logger.error(
                "the job store %s is new to this storage, which holds folders of %s: is jobs.store the one "
                "that was meant, or was it lost? Nothing of the others is deleted",
                self.leftovers.store,
                ", ".join(others),
                extra={"event": "store_new_to_storage"},
            )

    async def delete_left_by(self, store: str, journal: Journal) -> int:
        """Delete the folders of a store that is not in use; return their number. Raises StorageError."""
        left = (await self.survey(journal)).unowned.get(store, ())
        deleted = [await asyncio.to_thread(self._delete_abandoned, job_id) for job_id in left]
        if left and all(deleted):
            await asyncio.to_thread(self._storage.sign_out, store)
        await self.survey(journal)
        return sum(deleted)

    async def purge(self, tracker: JobTracker, journal: Journal, jobs: Sequence[Job]) -> list[Job]:
        """Delete files and records of ended jobs now; return the jobs that were deleted."""
        deleted, newest = await self._deleted_with_songs(jobs, journal)
        tracker.ended.records_expired(newest)
        return deleted

    async def _tidy(self, tracker: JobTracker, journal: Journal, until_known: UntilKnown) -> None:
        """Delete all files of ended jobs except songs.

        This waits until the end is durable: else the job would run again after a crash of the tracker, and
        need its recordings. It also waits until the end is known: a job without files to tidy may be settled,
        and the next tracker shows settled jobs at once.
        """
        job_ids = {job.job_id for job in tracker.ended.untidy()}
        await until_known(job_ids)
        untidy = [
            job for job in tracker.ended.untidy() if job.job_id in job_ids and journal.is_written(job.job_id)
        ]
        for job in await self._deleted(untidy, self._tidy_one):
            tracker.ended.tidied(job)

    def _tidy_one(self, job: Job) -> None:
        if job.state is JobState.SUCCEEDED and not job.purged:
            self._storage.delete_all_but(job.job_id, job.files)
        else:
            self._storage.delete_job(job.job_id)

    async def _expire_files(self, tracker: JobTracker, journal: Journal) -> None:
        """Delete songs that are too old, then the oldest ones while all together exceed `max_bytes`."""
        while True:
            await journal.flush_if_possible()
            old, changes = await journal.beside(self._songs_to_expire(tracker, journal))
            old = [job for job in old if changes.get(job.job_id, job) is job]  # the others: the next sweep
            deleted, newest = await self._deleted_with_songs(old, journal)
            tracker.ended.files_expired(newest)
            if len(deleted) < BATCH:
                return

    async def _songs_to_expire(self, tracker: JobTracker, journal: Journal) -> list[Job]:
        """Return jobs whose songs are too old, or of which there are too many bytes: the oldest first."""
        old = await journal.ended(self._clock() - self._settings.result_seconds, True, BATCH)
        surplus = tracker.ended.stored_bytes - sum(job.file_bytes for job in old) - self._settings.max_bytes
        if surplus > 0 and len(old) < BATCH:
            oldest = await journal.ended(ANY_TIME, True, BATCH)
            old += _enough(oldest[len(old) :], surplus)
        return old

    async def _expire_records(self, tracker: JobTracker, journal: Journal) -> None:
        while True:
            await journal.flush_if_possible()
            before = self._clock() - self._settings.record_seconds
            old = await journal.ended(before, False, BATCH)
            if len(await self.purge(tracker, journal, old)) < BATCH:
                return

    async def _expire_kept(self, tracker: JobTracker, journal: Journal) -> None:
        """Delete jobs that have been kept for as long as their requests asked (`keep_seconds`)."""
        while True:
            await journal.flush_if_possible()
            old = await journal.kept_until(self._clock(), BATCH)
            deleted = await self.purge(tracker, journal, old)
            self._is_erased = self._is_erased and not deleted
            if len(deleted) < BATCH:
                return

    async def finish_purge(self, job_id: str, tracker: JobTracker, journal: Journal) -> bool:
        """Delete what is left of a purged job, as far as that is possible now; return whether all is gone.

        The next sweeps do what is left. A callback may still be due; its record holds no content. Nothing is
        done, and False returned, for a job that was not purged. Its content is erased from the store even
        where its files have to wait. Raises StoreError.
        """
        if tracker.purged(job_id) is None:
            return False
        for job in tracker.ended.untidy():
            if job.job_id == job_id and journal.is_written(job_id):
                for tidied in await self._deleted([job], self._tidy_one):
                    tracker.ended.tidied(tidied)
        self._delete_purged(tracker)
        self._is_erased = False
        is_erased = await self._erase(journal)
        left = tracker.purged(job_id)
        return is_erased and (left is None or left.tidy_at is None)

    def _delete_purged(self, tracker: JobTracker) -> None:
        """Delete the records of purged jobs for which nothing else is left to do."""
        if left := tracker.ended.purged():
            tracker.ended.records_expired(left)
            self._is_erased = False

    async def _erase(self, journal: Journal) -> bool:
        """Let the store erase what was purged, once the deletions are written; return whether it has."""
        await journal.flush_if_possible()
        if not self._is_erased and journal.problem is None:
            self._is_erased = await journal.change_store(lambda store: store.erase_deleted())
        return self._is_erased

    async def _trim_cancelled(self, tracker: JobTracker, journal: Journal) -> None:
        """Delete surplus records of clients with many cancelled jobs before they expire."""
        for client in tracker.ended.to_trim():
            state = JobState.CANCELLED
            kept = await journal.page(client, state, sys.maxsize, self._settings.client_cancelled)
            while kept and (older := await journal.page(client, state, kept[-1].place.sequence, BATCH)):
                kept = older
                await self.purge(tracker, journal, [job for job in older if job.is_deletable])

    async def _delete_unknown(self, found: Iterable[str], journal: Journal) -> None:
        """Delete folders of requests that were never submitted, because the server died first."""
        now = self._steady()
        self._unknown_since = {job_id: self._unknown_since.get(job_id, now) for job_id in found}
        due = [job_id for job_id, since in self._unknown_since.items() if now - since >= ABANDONED_SECONDS]
        for job_id in sorted(await journal.unknown(due)):
            await asyncio.to_thread(self._delete_abandoned, job_id)

    def _delete_abandoned(self, job_id: str) -> bool:
        try:
            self._storage.delete_job(job_id)
        except OSError as error:
            logger.error(
                "the storage did not let go of what job %s left: %s", job_id, error, extra=about(job_id)
            )
            return False
        return True

    async def _deleted_with_songs(self, jobs: Sequence[Job], journal: Journal) -> tuple[list[Job], list[Job]]:
        """Delete the folders of jobs; return the jobs for which it succeeded, and their newest records.

        A job that was deleted meanwhile has none. Until the end no job of these can be requeued
        (`being_deleted`), because the folder would then be that of its next attempt, too.
        """
        ids = {job.job_id for job in jobs}
        self.being_deleted |= ids
        try:
            deleting = self._deleted(jobs, lambda job: self._storage.delete_job(job.job_id))
            deleted, changes = await journal.beside(deleting)
        finally:
            self.being_deleted -= ids
        newest = (changes.get(job.job_id, job) for job in deleted)
        return deleted, [job for job in newest if job is not None]

    async def _deleted(self, jobs: Sequence[Job], delete: Callable[[Job], None]) -> list[Job]:
        """Run `delete` for each job; return the jobs for which it succeeded."""

        def work() -> list[Job]:
            return [job for job in jobs if self._worked(job, delete)]

        return await asyncio.to_thread(work) if jobs else []

    @staticmethod
    def _worked(job: Job, delete: Callable[[Job], None]) -> bool:
        try:
            delete(job)
        except OSError as error:
            logger.error(
                "the storage did not delete files of job %s; trying again: %s",
                job.job_id,
                error,
                extra=about(job.job_id),
            )
            return False
        return True


async def _name_of_store(journal: Journal) -> str:
    return store_name(await journal.change_store(lambda store: store.secret()))


def _enough(oldest: Iterable[Job], surplus: int) -> list[Job]:
    """As many of the oldest jobs as take `surplus` bytes together."""
    taken = []
    for job in oldest:
        if surplus <= 0:
            break
        taken.append(job)
        surplus -= job.file_bytes
    return taken
