"""The JobTracker for callers in other processes: `serve_app.jobs.client` runs it as a Ray actor."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from configs.metrics import FailureKind
from configs.settings import Settings
from serve_app.jobs.janitor import Janitor
from serve_app.jobs.journal import Journal
from serve_app.jobs.leftovers import Leftovers
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Accepted, Checkpoint, Claim, JobState, JobView, NewJob, TrackerStats
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.purge import Purge, Purged, purge
from serve_app.jobs.store import StoreError
from serve_app.jobs.stores import open_store
from serve_app.jobs.tracker import JobTracker
from serve_app.jobs.webhooks import WebhookSender
from serve_app.storage import AudioStorage

logger = logging.getLogger("ray.serve")

LEASE_CHECK_SECONDS = 1.0
CALLBACK_CHECK_SECONDS = 1.0
LOAD_SECONDS = 5.0
"""How often the observer hears of the load; Ray exports metrics every 10 s."""

_Result = TypeVar("_Result")
_UNOBSERVED = JobObserver()


class JobTrackerActor:
    """The tracker's methods for remote callers, durable when they return, and waits for what may happen.

    All raise StoreError while the store can't be reached; the tracker then starts again from what is stored.
    """

    def __init__(self, settings: Settings, observer: JobObserver = _UNOBSERVED) -> None:
        self._settings = settings
        self._observer = observer
        self._janitor = Janitor(AudioStorage(settings.storage.uri), settings.storage, time.time)
        self._opened: tuple[JobTracker, Journal] | None = None
        self._work = asyncio.Event()
        self._line_changed = asyncio.Event()
        self._changes: dict[str, asyncio.Event] = {}
        self._background: list[asyncio.Task[None]] = []

    async def submit(self, new: NewJob) -> Accepted:
        """Put a job in line. Raises DrainingError, LimitError or IdempotencyConflictError."""
        accepted = await self._durably(lambda tracker: tracker.submit(new))
        self._changed(accepted.job_id)
        self._work.set()
        return accepted

    async def admit(self, client: str, idempotency_key: str | None) -> None:
        """Refuse early what `submit` would refuse now. Raises DrainingError or LimitError."""
        self._tracker.admit(client, idempotency_key)

    async def claim(self, token: str, timeout: float) -> Claim | None:
        """Lease the next job under the runner's new token, waiting up to `timeout` seconds for one."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            self._work.clear()
            if claim := await self._durably(lambda tracker: tracker.claim(token)):
                self._changed(claim.job.job_id)
                self._work.set()  # more may be waiting, and another claim may have cleared that away
                return claim
            try:
                await asyncio.wait_for(self._work.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                return None

    async def heartbeat(self, job_id: str, token: str, stage: str, progress: float) -> bool:
        kept = self._tracker.heartbeat(job_id, token, stage, progress)
        self._notify(job_id)
        return kept

    async def checkpoint(self, job_id: str, token: str, checkpoint: Checkpoint) -> bool:
        return await self._durably(lambda tracker: tracker.checkpoint(job_id, token, checkpoint))

    async def finish(
        self, job_id: str, token: str, result: dict[str, Any], files: tuple[str, ...], file_bytes: int
    ) -> bool:
        finished = await self._durably(
            lambda tracker: tracker.finish(job_id, token, result, files, file_bytes)
        )
        self._changed(job_id)
        return finished

    async def fail(
        self, job_id: str, token: str, error: str, retryable: bool, kind: FailureKind = "internal"
    ) -> bool:
        failed = await self._durably(lambda tracker: tracker.fail(job_id, token, error, retryable, kind))
        self._changed(job_id)
        self._work.set()
        return failed

    async def release(self, job_id: str, token: str) -> bool:
        released = await self._durably(lambda tracker: tracker.release(job_id, token))
        self._changed(job_id)
        self._work.set()
        return released

    async def left(self, job_id: str) -> None:
        """The runner of a cancelled job has stopped."""
        await self._durably(lambda tracker: tracker.left(job_id))

    async def cancel(self, job_id: str) -> JobView | None:
        """End a job that has not ended; None where the id is unknown. Raises JobEndedError."""
        view = await self._durably(lambda tracker: tracker.cancel(job_id))
        self._changed(job_id)
        return view

    async def view(self, job_id: str) -> JobView | None:
        return self._tracker.view(job_id)

    async def page(
        self, client: str | None, state: JobState | None, before: int, limit: int
    ) -> list[JobView]:
        """Jobs of a client (None: of all) with a sequence below `before`, newest first."""
        tracker, journal = self._open()
        await self._flush(journal)
        jobs = await asyncio.to_thread(journal.store.page, client, state, before, limit)
        return [view for job in jobs if (view := tracker.view(job.job_id))]

    async def wait(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """The job once its `version` differs from the one given, or as it is after `timeout` seconds."""
        return await self._wait(job_id, timeout, lambda view: view.version != version)

    async def wait_stage(self, job_id: str, state: str, stage: str, timeout: float) -> JobView | None:
        """The job once its state or stage differs from those given, or as it is after `timeout` seconds."""
        return await self._wait(job_id, timeout, lambda view: (view.state, view.stage) != (state, stage))

    async def lease_lost(self, job_id: str, token: str, timeout: float) -> bool:
        """True as soon as a runner must stop; False after `timeout` seconds."""
        await self._wait(job_id, timeout, lambda _: not self._tracker.holds_lease(job_id, token))
        return not self._tracker.holds_lease(job_id, token)

    async def demand(self) -> dict[str, dict[str, float]]:
        """Work by stage: submitted since this tracker started, withdrawn of that, waiting, running."""
        return self._tracker.demand()

    async def stats(self) -> TrackerStats:
        return self._tracker.stats()

    async def secret(self) -> bytes:
        """What signs tokens and callbacks; the same for as long as the store lives."""
        _, journal = self._open()
        return await asyncio.to_thread(journal.store.secret)

    # What operators ask: serve_app.admin

    async def set_mode(self, mode: Mode) -> None:
        """Let the server take and begin jobs, or not; so it stays until the next call, whatever dies."""
        tracker, journal = self._open()
        await asyncio.to_thread(journal.store.set_mode, mode)
        tracker.mode = mode
        logger.info("an operator has set the job tracker to %s", mode)
        self._work.set()

    async def waiting(self, client: str | None, limit: int) -> list[JobView]:
        """The first who wait, of a client or (None) of all, in order."""
        return self._tracker.waiting(client, limit)

    async def requeue(self, job_id: str) -> JobView | None:
        """Put a job in line again; None where the id is unknown. Raises RequeueError."""
        view = await self._durably(lambda tracker: tracker.requeue(job_id))
        self._changed(job_id)
        self._work.set()
        return view

    async def purge(self, wanted: Purge, dry_run: bool) -> Purged:
        """Delete files and records of ended jobs: one step."""
        tracker, journal = self._open()
        await self._flush(journal)
        purged = await purge(wanted, dry_run, tracker, journal.store, self._janitor)
        await self._flush(journal)
        if not dry_run:
            logger.info("an operator has purged %d jobs", len(purged.job_ids))
        return purged

    async def leftovers(self) -> Leftovers:
        """What of the storage no record knows. Raises StorageError."""
        return await self._janitor.survey(self._open()[1])

    async def delete_left_by(self, store: str) -> int:
        """Delete the folders of a store that is not in use; how many went. Raises StorageError."""
        deleted = await self._janitor.delete_left_by(store, self._open()[1])
        logger.info("an operator has deleted %d folders that job store %s left", deleted, store)
        return deleted

    async def close(self) -> None:
        """End the housekeeping and let go of the store."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._opened is not None:
            self._opened[1].store.close()

    # The tracker and its store

    @property
    def _tracker(self) -> JobTracker:
        return self._open()[0]

    def _open(self) -> tuple[JobTracker, Journal]:
        if self._opened is None:
            try:
                journal = Journal(open_store(self._settings.jobs.store))
                tracker = JobTracker(self._settings.jobs, journal, time.time, self._observer)
            except StoreError:
                self._observer.store_failed()
                raise
            self._opened = tracker, journal
            self._work.set()
            if not self._background:
                self._start_background()
        return self._opened

    async def _durably(self, change: Callable[[JobTracker], _Result]) -> _Result:
        """What a change of the tracker returns, once it is on disk."""
        tracker, journal = self._open()
        result = change(tracker)
        await self._flush(journal)
        return result

    async def _flush(self, journal: Journal) -> None:
        try:
            await journal.flushed()
        except StoreError:
            self._observer.store_failed()
            if self._opened is not None and self._opened[1] is journal:
                logger.exception("the job store failed; the tracker starts again from what is stored")
                self._opened = None
                journal.store.close()
            raise

    # What nobody asks for

    def _start_background(self) -> None:
        sender = WebhookSender(self._settings.webhooks, self.secret, time.time, self._observer)

        async def clean() -> None:
            tracker, journal = self._open()
            await self._janitor.sweep(tracker, journal)
            await self._flush(journal)

        async def call_back() -> None:
            tracker, journal = self._open()
            sender.deliver_due(tracker)
            await self._flush(journal)

        async def tell_load() -> None:
            self._observer.loaded(self._tracker.load())
            self._observer.storage_seen(self._janitor.state)

        self._background = [
            asyncio.create_task(self._every(LEASE_CHECK_SECONDS, self._check_leases)),
            asyncio.create_task(self._every(self._settings.storage.sweep_seconds, clean)),
            asyncio.create_task(self._every(CALLBACK_CHECK_SECONDS, call_back)),
            asyncio.create_task(self._every(LOAD_SECONDS, tell_load)),
        ]

    async def _check_leases(self) -> None:
        expired = await self._durably(lambda tracker: tracker.requeue_expired())
        for job_id in expired:
            self._changed(job_id)
            self._work.set()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception:
                logger.exception("the job tracker's housekeeping failed; trying again in %g s", seconds)

    # Waiting

    def _changed(self, job_id: str) -> None:
        """A job came, went or moved: the positions of others may have changed, too."""
        self._notify(job_id)
        self._line_changed.set()
        self._line_changed = asyncio.Event()

    def _notify(self, job_id: str) -> None:
        if event := self._changes.pop(job_id, None):
            event.set()

    async def _wait(self, job_id: str, timeout: float, wanted: Callable[[JobView], bool]) -> JobView | None:
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            line_changed = self._line_changed
            view = self._tracker.view(job_id)
            left = deadline - asyncio.get_running_loop().time()
            if view is None or wanted(view) or view.state.is_final or left <= 0:
                return view
            queued = view.state is JobState.QUEUED
            event = line_changed if queued else self._changes.setdefault(job_id, asyncio.Event())
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), left)
