"""The tracker with its store: changes are durable, calls can wait, and housekeeping runs beside them.

`serve_app.jobs.client` runs it as a Ray actor.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from pydantic_core import PydanticSerializationError, to_json

from configs.metrics import FailureKind
from configs.settings import Settings
from deployments.common.job_log import log_event
from serve_app.jobs.batches import BatchAccepted, BatchView, sequences_of
from serve_app.jobs.errors import IdempotencyConflictError, JobEndedError, NoRoomError, RequeueError
from serve_app.jobs.housekeeping.janitor import Janitor
from serve_app.jobs.housekeeping.leftovers import Leftovers
from serve_app.jobs.housekeeping.news import Message
from serve_app.jobs.housekeeping.purge import Purge, Purged, purge
from serve_app.jobs.housekeeping.webhooks import WebhookSender
from serve_app.jobs.loaded_adapters import AdaptersOfClients, LoadedAdapters, note_of
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import (
    Accepted,
    Checkpoint,
    Claim,
    Job,
    JobState,
    JobView,
    NewJob,
    Steps,
    TrackerStats,
)
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.reading.feed import Feed
from serve_app.jobs.reading.news import News, OpenJobs
from serve_app.jobs.requeue import NOT_TIDY
from serve_app.jobs.storing.disk import free_bytes, written_folders
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import (
    JobStore,
    SetAside,
    StoreError,
    StoreReplacedError,
    StoreTakenError,
)
from serve_app.jobs.storing.stores import open_store
from serve_app.jobs.surroundings import REAL, Surroundings
from serve_app.jobs.tracker import JobTracker
from serve_app.jobs.usage import ClientUsage

logger = logging.getLogger("ray.serve")

LEASE_CHECK_SECONDS = 1.0
STORE_CHECK_SECONDS = 1.0
"""Interval of three checks: the store's owner, the free space of the disks, and a store that failed."""
CALLBACK_CHECK_SECONDS = 1.0
PATIENCE_SECONDS = 1.0
"""How long a poll waits until the change that it shows is durable."""
SIGN_IN_SECONDS = 1.0
"""How long a write waits until the storage knows that the clock was set back."""
LOAD_SECONDS = 5.0
"""Interval at which the observer gets the load; Ray exports metrics every 10 s."""

STORE_FAILS = (
    "The server's job store is full or out of reach: it takes no new jobs, and goes on with those it has"
)
BEGUN_ANEW = "the job tracker has begun anew from what is stored"
DISK_FULL = "The server's disk is almost full: it takes no new jobs, and goes on with those it has"

FULL_SHARE, FULL_BYTES = 0.1, 1 << 20
"""A disk with less free space than this share of `storage.min_free_bytes`, or these bytes, counts as full."""
_NO_JOB = "none"
"""An id that no job has."""

_Opened = tuple[JobTracker, Journal]
_Result = TypeVar("_Result")
_UNOBSERVED = JobObserver()


class DurableTracker:
    """Implements `TrackerApi`, which documents the methods.

    While the store takes no writes, the tracker goes on in memory, and tries again until everything is
    written. Meanwhile new jobs are refused (NoRoomError) and none is begun; polls and heartbeats are
    answered; cancellations and checkpoints take effect at once and are written later; reports of a result
    raise StoreError until it is durable. While the disk of the songs is full, no job is begun either, because
    each attempt would fail.
    """

    def __init__(
        self,
        settings: Settings,
        observer: JobObserver = _UNOBSERVED,
        outside: Surroundings = REAL,
        has_predecessor: bool = False,
    ) -> None:
        """`has_predecessor` tells that another process may have been the tracker until now."""
        self._settings = settings
        self._observer = observer
        self._outside = outside
        storage = outside.open_storage(settings.storage.uri)
        self._janitor = Janitor(storage, settings.storage, outside.wall, outside.machine)
        self._cleaning = asyncio.Lock()
        self._signing_in: asyncio.Task[None] | None = None
        """It tells the storage that the clock was set back."""
        self._folders = written_folders(settings)
        self._has_disk = True
        """Whether the disks have `storage.min_free_bytes`."""
        self._disk_is_full = False
        """Whether no job may begin: a disk is full, or an attempt failed while it had less than that."""
        self._has_predecessor = has_predecessor
        self._feed: Feed | None = None
        self._opened: _Opened | None = None
        self._opening: asyncio.Task[_Opened] | None = None
        self._secret = b""
        self._adapters = AdaptersOfClients()
        self._taken: StoreTakenError | None = None
        self._store_failed = False
        self._store_answers = True
        self._store_hangs = False
        """Whether a write takes so long that polls do not wait for it."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._work = asyncio.Event()
        self._queue_changed = asyncio.Event()
        self._changes: dict[str, asyncio.Event] = {}
        self._background: list[asyncio.Task[None]] = []

    async def submit(self, new: NewJob) -> Accepted:
        tracker, journal = await self._open()
        async with self._turn(new):
            try:
                earlier = await journal.earlier(new)
            except StoreError as error:
                raise NoRoomError(STORE_FAILS) from error
            if accepted := tracker.repeated(new, earlier):
                await self._settled([accepted.job_id], journal)
                return accepted
            self._require_room(journal)
            accepted = tracker.submit(new)
            await self._store_new(tracker, journal, [new])
        self._changed(accepted.job_id)
        self._work.set()
        return accepted

    async def submit_batch(self, news: tuple[NewJob, ...], callback_url: str | None) -> BatchAccepted:
        tracker, journal = await self._open()
        async with self._turn(news[0]):
            try:
                earlier = await journal.earlier(news[0])
            except StoreError as error:
                raise NoRoomError(STORE_FAILS) from error
            if repeated := tracker.repeated(news[0], earlier):
                return await self._accepted_before(repeated)
            self._require_room(journal)
            accepted = tracker.submit_batch(news, callback_url)
            await self._store_new(tracker, journal, news)
        for job in accepted.jobs:
            self._changed(job.job_id)
        self._work.set()
        return accepted

    async def _accepted_before(self, first: Accepted) -> BatchAccepted:
        """Return the answer to a repeated submit of the batch that a job belongs to, as it stands now."""
        tracker, journal = await self._open()
        record = await journal.get(first.job_id)
        view = await self.batch(record.batch.batch_id, None) if record and record.batch else None
        if view is None:
            raise IdempotencyConflictError  # It was purged meanwhile.
        positions = {job_id: tracker.view(job_id) for job_id, _ in view.jobs}
        jobs = tuple(
            Accepted(job_id, state, shown.queue_position if (shown := positions[job_id]) else 0)
            for job_id, state in view.jobs
        )
        return BatchAccepted(view.batch_id, jobs, first.quotas)

    async def batch(self, batch_id: str, client: str | None) -> BatchView | None:
        tracker, journal = await self._open()
        sequences = sequences_of(batch_id)
        if sequences is None:
            return None
        first, count = sequences
        states = await journal.states(first, first + count)
        record, changes = await journal.beside(_record_of_batch(states, journal))
        if record is None or record.batch is None or record.batch.batch_id != batch_id:
            return None
        if client not in {None, record.client}:
            return None
        members = {}
        for job_id, state in states.items():
            if job_id not in changes:
                members[job_id] = state
            elif (job := changes[job_id]) is not None:
                members[job_id] = job.state
        members = {job_id: state for job_id, state in members.items() if tracker.purged(job_id) is None}
        await self._shown(members, journal)
        return BatchView(batch_id, record.client, tuple(members.items()), count - len(members))

    async def cancel_batch(self, batch_id: str, client: str | None) -> BatchView | None:
        tracker, journal = await self._open()
        if (view := await self.batch(batch_id, client)) is None:
            return None
        for job_id, state in view.jobs:
            if not state.is_final:
                with suppress(JobEndedError):
                    tracker.cancel(job_id)
                self._changed(job_id)
        await self._flush_soon(journal)
        return await self.batch(batch_id, client)

    async def admit(self, client: str, idempotency_key: str | None) -> None:
        tracker, journal = await self._open()
        if idempotency_key is not None:
            try:
                earlier = await journal.with_key(client, idempotency_key)
            except StoreError as error:
                raise NoRoomError(STORE_FAILS) from error
            if earlier is not None and tracker.is_key_valid(earlier):
                return
        self._require_room(journal)
        tracker.admit(client)

    async def claim(self, token: str, timeout: float) -> Claim | None:
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            self._work.clear()
            if claim := await self._claim(token):
                self._changed(claim.job.job_id)
                self._work.set()  # Other claims may succeed, because more jobs may be queued.
                return claim
            try:
                await asyncio.wait_for(self._work.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                return None

    async def heartbeat(
        self, job_id: str, token: str, stage: str, progress: float, steps: Steps | None = None
    ) -> bool:
        tracker, _ = await self._open()
        kept = tracker.heartbeat(job_id, token, stage, progress, steps)
        self._notify(job_id)
        return kept

    async def checkpoint(self, job_id: str, token: str, checkpoint: Checkpoint) -> bool:
        tracker, journal = await self._open()
        kept = tracker.checkpoint(job_id, token, checkpoint)
        await self._flush_soon(journal)
        return kept

    async def finish(
        self, job_id: str, token: str, result: dict[str, Any], files: tuple[str, ...], file_bytes: int
    ) -> bool:
        try:
            to_json(result)
        except PydanticSerializationError as error:
            raise TypeError(f"the result of job {job_id} cannot be written as JSON") from error
        tracker, journal = await self._with_record(job_id)
        finished = tracker.finish(job_id, token, result, files, file_bytes)
        self._changed(job_id)
        await self._flush(journal)
        return finished

    async def fail(
        self, job_id: str, token: str, error: str, retryable: bool, kind: FailureKind = "internal"
    ) -> bool:
        tracker, journal = await self._with_record(job_id)
        failed = tracker.fail(job_id, token, error, retryable, kind)
        if kind == "unavailable" and not self._has_disk:
            self._disk_is_full = True
        self._changed(job_id)
        self._work.set()
        await self._flush(journal)
        return failed

    async def release(self, job_id: str, token: str) -> bool:
        tracker, journal = await self._open()
        released = tracker.release(job_id, token)
        self._changed(job_id)
        self._work.set()
        await self._flush(journal)
        return released

    async def runner_stopped(self, job_id: str) -> None:
        tracker, journal = await self._open()
        tracker.runner_stopped(job_id)
        await self._flush_soon(journal)
        await self._janitor.finish_purge(job_id, tracker, journal)

    async def cancel(self, job_id: str) -> JobView | None:
        tracker, journal = await self._with_record(job_id)
        view = tracker.cancel(job_id)
        self._changed(job_id)
        await self._flush_soon(journal)
        await self._settled([job_id], journal)
        return view

    async def purge_job(self, job_id: str, client: str | None) -> bool | None:
        tracker, journal = await self._with_record(job_id)
        if not tracker.purge(job_id, client):
            return None
        self._changed(job_id)
        self._work.set()
        await self._flush(journal)
        await self._settled([job_id], journal)
        complete = await self._janitor.finish_purge(job_id, tracker, journal)
        log_event("purged", job_id, complete=complete)
        return complete

    async def view(self, job_id: str) -> JobView | None:
        tracker, journal = await self._with_record(job_id)
        view = tracker.view(job_id)
        await self._shown([job_id], journal)
        return view

    async def page(
        self, client: str | None, state: JobState | None, before: int, limit: int
    ) -> list[JobView]:
        tracker, journal = await self._open()
        views: list[JobView] = []
        while (wanted := limit - len(views)) > 0:
            jobs = await journal.page(client, state, before, wanted)
            views += filter(None, map(tracker.view_of_stored, jobs))
            if len(jobs) < wanted:
                break
            before = jobs[-1].place.sequence  # Purged jobs were left out.
        await self._shown([view.job_id for view in views], journal)
        return views

    async def wait(self, job_id: str, version: str, timeout: float) -> JobView | None:
        return await self._wait(job_id, timeout, lambda view: view.version != version)

    async def wait_change(self, job_id: str, client: str | None, timeout: float) -> JobView | None:
        known = await self.view(job_id)
        if known is None or client not in {None, known.client}:
            return known
        before = known.state, known.stage
        return await self._wait(job_id, timeout, lambda view: (view.state, view.stage) != before)

    async def wait_end(self, job_id: str, timeout: float) -> JobView | None:
        return await self._wait(job_id, timeout, lambda view: view.state.is_final)

    async def lease_lost(self, job_id: str, token: str, timeout: float) -> bool:
        await self._open()
        if not self._is_lost(job_id, token):
            await self._wait(job_id, timeout, lambda _: self._is_lost(job_id, token))
        return self._is_lost(job_id, token)

    async def open_jobs(self, after: int, limit: int) -> OpenJobs:
        return (await self._open_feed()).open_jobs(after, limit)

    async def follow(self, follower: str, tracker: str, number: int, confirmed: int) -> News | None:
        return await (await self._open_feed()).follow(follower, tracker, number, confirmed)

    async def unfollow(self, follower: str) -> None:
        (await self._open_feed()).unfollow(follower)

    async def usage(self, client: str, first: str, last: str) -> ClientUsage:
        tracker, journal = await self._open()
        await self._flush_soon(journal)
        return tracker.usage(client, await journal.usage(client, first, last))

    async def demand(self) -> dict[str, dict[str, float]]:
        return (await self._open())[0].demand(self._settings.models.defaults)

    async def stats(self) -> TrackerStats:
        tracker, journal = await self._open()
        return replace(tracker.stats(), no_room=self._no_room(journal))

    async def secret(self) -> bytes:
        await self._open()
        return self._secret

    async def loaded_adapters(self, client: str) -> LoadedAdapters:
        await self._open()
        return self._adapters.of(client)

    async def keep_adapters(self, client: str, loaded: LoadedAdapters) -> None:
        _, journal = await self._open()
        await journal.change_store(partial(_note_client, client, note_of(loaded)))
        for forgotten in self._adapters.keep(client, loaded):
            await journal.change_store(partial(_note_client, forgotten, None))

    # For operators (`serve_app.admin`)

    async def set_mode(self, mode: Mode) -> None:
        tracker, journal = await self._open()
        await journal.change_store(lambda store: store.set_mode(mode))
        tracker.mode = mode
        logger.info("an operator has set the job tracker to %s", mode)
        self._work.set()

    async def waiting(self, client: str | None, limit: int) -> list[JobView]:
        return (await self._open())[0].waiting(client, limit)

    async def requeue(self, job_id: str) -> JobView | None:
        tracker, journal = await self._with_record(job_id)
        if journal.problem is not None:
            raise journal.problem
        if job_id in self._janitor.being_deleted:
            raise RequeueError(NOT_TIDY, later=True)
        view = tracker.requeue(job_id)
        self._changed(job_id)
        self._work.set()
        await self._flush(journal)
        await self._settled([job_id], journal)
        return view

    async def purge(self, wanted: Purge, dry_run: bool) -> Purged:
        tracker, journal = await self._open()
        async with self._cleaning:
            purged = await purge(wanted, dry_run, tracker, journal, self._janitor)
        await self._flush_soon(journal)
        if not dry_run:
            logger.info("an operator has purged %d jobs", len(purged.job_ids))
        return purged

    async def leftovers(self) -> Leftovers:
        _, journal = await self._open()
        return await self._janitor.survey(journal)

    async def delete_left_by(self, store: str) -> int:
        _, journal = await self._open()
        deleted = await self._janitor.delete_left_by(store, journal)
        logger.info("an operator has deleted %d folders that job store %s left", deleted, store)
        return deleted

    async def set_aside(self) -> list[SetAside]:
        _, journal = await self._open()
        return await journal.change_store(lambda store: store.aside())

    async def close(self) -> None:
        """End the housekeeping and close the store."""
        tasks = [*self._background, *filter(None, [self._signing_in])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._feed is not None:
            self._feed.close()
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened[1].close()

    # The tracker and its store

    async def _open(self) -> _Opened:
        """Return the tracker and its journal; the first call reads the store."""
        if self._taken is not None:
            raise self._taken
        if self._opened is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._begin())
            return await asyncio.shield(self._opening)
        if isinstance(problem := self._opened[1].problem, StoreTakenError):
            raise problem  # The write that found it is about to note it.
        return self._opened

    async def _begin(self) -> _Opened:
        try:
            opened, self._secret, self._adapters = await asyncio.to_thread(self._read_store)
            await self._check_disk()
            opened[0].begin_leases()
            self._publish(*opened)
            self._opened = opened
        except StoreError:
            self._observer.store_failed()
            raise
        finally:
            # It is cleared last, because a call that finds neither opens the store a second time.
            self._opening = None
        self._work.set()
        if not self._background:
            self._start_background()
        return opened

    def _read_store(self) -> tuple[_Opened, bytes, AdaptersOfClients]:
        """Make a tracker from the store's records; return it with the secret and the adapters of clients.

        Blocks.
        """
        outside = self._outside
        store = (outside.open_store or open_store)(self._settings.jobs.store)
        try:
            _take_back_readable(store)
            journal = Journal(store, self._before_write)
            tracker = JobTracker(
                self._settings.jobs,
                journal,
                self._janitor.wall,
                self._observer,
                outside.steady,
                self._settings.storage,
                self._settings.webhooks,
            )
            return (tracker, journal), store.secret(), AdaptersOfClients(store.client_notes())
        except BaseException:
            store.close()
            raise

    async def _before_write(self, journal: Journal) -> None:
        """Let the next process know of a clock that was set back before it can read what was stamped since.

        A storage that does not answer holds writes up for SIGN_IN_SECONDS each.
        """
        if not self._janitor.was_set_back:
            return
        if self._signing_in is None or self._signing_in.done():
            self._signing_in = asyncio.create_task(self._sign_in(journal))
        await asyncio.wait([self._signing_in], timeout=SIGN_IN_SECONDS)

    async def _sign_in(self, journal: Journal) -> None:
        with suppress(StoreError, OSError):  # the sweeps repeat what fails here
            await self._janitor.sign_in(journal)

    def _publish(self, tracker: JobTracker, journal: Journal) -> None:
        """Let other processes follow the changes of a tracker that was just opened."""
        has_predecessor = self._has_predecessor or self._feed is not None
        if self._feed is not None:
            self._feed.close()
        self._feed = Feed(
            tracker,
            self._outside.steady,
            partial(self._is_showable, journal),
            partial(self._until_showable, journal),
            has_predecessor,
        )

    async def _open_feed(self) -> Feed:
        await self._open()
        assert self._feed is not None
        return self._feed

    async def _settled(self, job_ids: Collection[str], journal: Journal) -> None:
        """Wait until no process that answers reads shows an older state of these jobs than ours.

        Raises StoreError if the tracker with this journal has lost the store meanwhile: what it told of these
        jobs may not be stored.
        """
        await (await self._open_feed()).settled(job_ids)
        if self._taken is not None:
            raise self._taken
        if self._opened is None or self._opened[1] is not journal:
            raise StoreReplacedError(BEGUN_ANEW)

    async def _with_record(self, job_id: str) -> _Opened:
        """Return the tracker with this job's record in memory, until the caller's next `await`."""
        tracker, journal = await self._open()
        if not tracker.has_record(job_id) and (stored := await journal.get(job_id)):
            if not stored.is_settled and not tracker.has_record(job_id):
                raise StoreError(f"job {job_id} belongs to another job tracker, which has the store now")
            tracker.recall(stored)
        return tracker, journal

    async def _claim(self, token: str) -> Claim | None:
        tracker, journal = await self._open()
        if journal.problem is not None:
            return None  # an attempt must be durable before it begins, so that no two have one number
        if self._disk_is_full:
            return None
        self._fail_late(tracker)
        if claim := tracker.claim(token):
            try:
                await self._flush(journal)
            except StoreError:
                tracker.release(claim.job.job_id, token)
                raise
        return claim

    def _fail_late(self, tracker: JobTracker) -> None:
        """Fail jobs that have not begun by their deadline; the caller writes them."""
        for job_id in tracker.fail_late():
            self._changed(job_id)

    @asynccontextmanager
    async def _turn(self, new: NewJob) -> AsyncIterator[None]:
        """Serialize submits of one id or idempotency key: each sees the result of the previous one."""
        names = [f"id {new.job_id}"]
        if new.idempotency:
            names.append(f"key {new.client.name!r} {new.idempotency.key}")
        locks = [self._turns.setdefault(name, asyncio.Lock()) for name in names]
        for lock in locks:
            await lock.acquire()
        try:
            yield
        finally:
            for lock in locks:
                lock.release()

    async def _store_new(self, tracker: JobTracker, journal: Journal, news: Collection[NewJob]) -> None:
        """Make new jobs durable, or withdraw them. Raises NoRoomError or StoreTakenError."""
        try:
            await self._flush(journal)
        except StoreTakenError:
            raise
        except StoreError as error:
            # The client is told that the submit failed and may repeat it, so the jobs must not run as well.
            for new in news:
                tracker.withdraw(new)
            raise NoRoomError(STORE_FAILS) from error

    def _require_room(self, journal: Journal) -> None:
        if isinstance(journal.problem, StoreTakenError):
            raise journal.problem
        if reason := self._no_room(journal):
            raise NoRoomError(reason)

    def _no_room(self, journal: Journal) -> str | None:
        """Return why new jobs cannot be stored; None if they can."""
        if journal.problem is not None or not self._store_answers:
            return STORE_FAILS
        return None if self._has_disk and not self._disk_is_full else DISK_FULL

    async def _flush(self, journal: Journal) -> None:
        try:
            await journal.flushed()
        except StoreError as error:
            self._observer.store_failed()
            await self._note_problem(journal, error)
            raise
        self._store_hangs = False

    async def _flush_soon(self, journal: Journal) -> None:
        """Write all changes if the store takes writes; else the next try writes them."""
        if journal.problem is None:
            with suppress(StoreError):
                await self._flush(journal)
        if self._taken is not None:
            raise self._taken

    async def _note_problem(self, journal: Journal, error: StoreError) -> None:
        if self._opened is None or self._opened[1] is not journal:
            return
        if isinstance(error, StoreTakenError):
            logger.error("%s; this job tracker ends", error)
            self._taken = error
        elif isinstance(error, StoreReplacedError):
            logger.error("%s; the job tracker begins anew from what is stored", error)
            self._opened = None
            await journal.close()
        elif not self._store_failed:
            self._store_failed = True
            logger.error("the job store takes no writes; the job tracker goes on in memory: %s", error)

    # Periodic tasks

    def _start_background(self) -> None:
        sender = WebhookSender(
            self._settings.webhooks,
            self.secret,
            self._outside.wall,
            self._observer,
            steady=self._outside.steady,
            batch_of=lambda batch_id: self.batch(batch_id, None),
            transport=self._outside.callbacks,
        )

        async def clean() -> None:
            tracker, journal = await self._open()
            async with self._cleaning:
                await self._janitor.sweep(tracker, journal, partial(self._settled, journal=journal))
                await self._set_aside_unreadable(tracker, journal)
            await self._flush_soon(journal)

        async def sign_in() -> None:
            _, journal = await self._open()
            async with self._cleaning:
                await self._sign_in(journal)

        async def call_back() -> None:
            tracker, journal = await self._open()
            due = (*tracker.ended.callbacks_due(), *tracker.ended.batch_callbacks_due())
            ended, running = {job.job_id for job in due}, {job.job_id for job in tracker.with_news()}
            await self._settled([*ended, *running], journal)
            await self._flush_soon(journal)

            def may_tell(message: Message) -> bool:
                # Jobs begin and end during the waits above, too. An end that is not durable may differ after
                # a crash. All others are told at the next check.
                job_id = message.job.job_id
                if message.is_of_end:
                    return job_id in ended and journal.is_written(job_id)
                return job_id in running

            if journal.problem is None:
                sender.deliver_due(tracker, may_tell)

        async def tell_load() -> None:
            self._observer.loaded((await self._open())[0].load())
            self._observer.storage_seen(self._janitor.state)

        self._background = [
            asyncio.create_task(sign_in()),
            asyncio.create_task(self._every(LEASE_CHECK_SECONDS, self._check_leases)),
            asyncio.create_task(self._every(STORE_CHECK_SECONDS, self._check_store)),
            asyncio.create_task(self._every(STORE_CHECK_SECONDS, self._check_owner)),
            asyncio.create_task(self._every(STORE_CHECK_SECONDS, self._check_disk)),
            asyncio.create_task(self._every(self._settings.storage.sweep_seconds, clean)),
            asyncio.create_task(self._every(CALLBACK_CHECK_SECONDS, call_back)),
            asyncio.create_task(self._every(LOAD_SECONDS, tell_load)),
        ]

    async def _check_leases(self) -> None:
        tracker, journal = await self._open()
        expired = tracker.requeue_expired()
        for job_id in expired:
            self._changed(job_id)
            self._work.set()
        self._fail_late(tracker)
        await self._flush_soon(journal)

    async def _check_store(self) -> None:
        """Try again to write what could not be written, and see whether the store can be read."""
        _, journal = await self._open()
        try:
            await journal.get(_NO_JOB)
        except StoreError:
            self._store_answers = False
        else:
            self._store_answers = True
        if journal.problem is not None:
            with suppress(StoreError):
                await self._flush(journal)
        if journal.problem is None and self._store_failed:
            self._store_failed = False
            logger.warning("the job store takes writes again")
            self._work.set()

    async def _check_owner(self) -> None:
        """See whether another tracker has taken or changed the store, which a write would find as well.

        A tracker with nothing to write would otherwise never read the jobs that the other one has accepted,
        and would go on renewing leases of jobs that belong to the other one.
        """
        _, journal = await self._open()
        if journal.problem is not None:
            return  # The writes that are tried again find it.
        try:
            await journal.change_store(lambda store: store.check_owner())
        except (StoreTakenError, StoreReplacedError) as error:
            await self._note_problem(journal, error)
        except StoreError:
            pass  # The store does not answer, which `_check_store` and the next write find.

    async def _set_aside_unreadable(self, tracker: JobTracker, journal: Journal) -> None:
        """Set records aside that could not be read."""
        if journal.problem is None and journal.store.noted_unreadable():
            for kept in await journal.change_store(lambda store: store.set_aside()):
                log_event(
                    "record_set_aside", kept.job_id, logging.ERROR, state=kept.state, reason=kept.reason
                )
                self._observer.set_aside()
                if kept.state:
                    tracker.set_aside(JobState(kept.state))

    async def _check_disk(self) -> None:
        try:
            free = await asyncio.to_thread(self._outside.free_bytes or free_bytes, self._folders)
        except OSError as error:
            logger.warning("the room on the disk is not known: %s", error.strerror)
            return
        least = self._settings.storage.min_free_bytes
        has_room = free is None or free >= least
        if has_room is not self._has_disk:
            self._has_disk = has_room
            said = "new jobs are taken again" if has_room else "new jobs are refused"
            logger.warning("%s bytes of the disk are free, %s", free, said)
        is_full = free is not None and free < max(FULL_SHARE * least, FULL_BYTES)
        is_full = is_full or (self._disk_is_full and not has_room)
        if is_full is not self._disk_is_full:
            self._disk_is_full = is_full
            said = "no job is begun" if is_full else "jobs are begun again"
            logger.warning("%s bytes of the disk are free, %s", free, said)
            self._work.set()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except StoreTakenError:
                return
            except StoreError as error:
                logger.warning("the job tracker's housekeeping waits for the job store: %s", error)
            except OSError as error:
                logger.error("the job tracker's housekeeping waits for the storage: %s", error)
            except Exception:
                logger.exception("the job tracker's housekeeping failed; trying again in %g s", seconds)

    # Waiting

    def _changed(self, job_id: str) -> None:
        """Wake callers that wait for this job, and for any queued job, whose position may have changed."""
        self._notify(job_id)
        self._queue_changed.set()
        self._queue_changed = asyncio.Event()

    def _notify(self, job_id: str) -> None:
        if event := self._changes.pop(job_id, None):
            event.set()

    async def _shown(self, job_ids: Collection[str], journal: Journal) -> None:
        """Wait until neither a crash nor another process takes back what polls see of these jobs.

        That a job is unknown counts as well: it may just have been deleted.
        """
        await self._until_showable(journal, job_ids)
        await self._settled(job_ids, journal)

    def _is_showable(self, journal: Journal, job_id: str) -> bool:
        """Tell whether a crash cannot take the newest change of a job back, or the store takes no writes."""
        return self._store_hangs or journal.problem is not None or journal.is_written(job_id)

    async def _until_showable(self, journal: Journal, job_ids: Collection[str]) -> None:
        """Wait until a crash cannot take back what polls see; not if the store takes no writes or hangs."""
        if self._store_hangs or all(map(journal.is_written, job_ids)):
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._flush_soon(journal)
        except TimeoutError:
            self._store_hangs = True

    def _is_lost(self, job_id: str, token: str) -> bool:
        return self._opened is not None and not self._opened[0].holds_lease(job_id, token)

    async def _wait(self, job_id: str, timeout: float, wanted: Callable[[JobView], bool]) -> JobView | None:
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            tracker, journal = await self._with_record(job_id)
            queue_changed = self._queue_changed
            view = tracker.view(job_id)
            left = deadline - asyncio.get_running_loop().time()
            if view is None or wanted(view) or view.state.is_final or left <= 0:
                await self._shown([job_id], journal)
                return view
            queued = view.state is JobState.QUEUED
            event = queue_changed if queued else self._changes.setdefault(job_id, asyncio.Event())
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), left)


async def _record_of_batch(job_ids: Iterable[str], journal: Journal) -> Job | None:
    """Return the record of one of the jobs of a batch, which names the batch.

    The jobs were submitted together, so any one does, except for those that were purged meanwhile.
    """
    for job_id in job_ids:
        record = await journal.get(job_id)
        if record is not None and record.batch is not None and not record.purged:
            return record
    return None


def _note_client(client: str, note: str | None, store: JobStore) -> None:
    store.note_client(client, note)


def _take_back_readable(store: JobStore) -> None:
    """Restore jobs from records set aside that this release can read."""
    try:
        if taken_back := store.take_back():
            logger.warning("%d records that had been set aside are jobs again", len(taken_back))
    except StoreError as error:
        logger.warning("records that were set aside could not be read again: %s", error)
