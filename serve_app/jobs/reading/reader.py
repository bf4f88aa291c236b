"""Answers reads of jobs from memory.

Each process that takes requests has one reader, which follows the tracker. A reader answers for a job if its
lease has not ended and all readers know the newest change that it knows itself
(`serve_app.jobs.reading.feed`). Otherwise it asks the tracker, so an answer is never older than one that any
client has got before.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from contextvars import Context

import ray.exceptions

from serve_app.jobs.clocks import Clock
from serve_app.jobs.model import JobState, JobView
from serve_app.jobs.reading.mirror import Mirror
from serve_app.jobs.reading.news import LEASE_SECONDS, News
from serve_app.jobs.recent import Recent, characters_of_result
from serve_app.jobs.storing.store import StoreError
from serve_app.jobs.tracker_api import TrackerApi

logger = logging.getLogger("ray.serve")

PAGE_JOBS = 500
"""Jobs of one message of the first copy. The tracker does nothing else while it makes one."""
ASKED_AT_ONCE = 32
"""Reads for which the tracker is asked at a time. Others wait, so that news need not wait behind all of them:
a reader whose news come later than its lease ends would never answer from memory."""
RETRY_SECONDS = 0.5
"""Pause before the tracker is followed again."""
LOOK_SECONDS = 0.5
"""Pause between two reads of a job while changes of it are not heard from the tracker."""
IDLE_SECONDS = 60.0
"""Time without reads after which the tracker is not followed any more."""
WOKEN_AT_ONCE, WAKING_SECONDS = 50, 0.005
"""Number of callers that are woken together, and the pause before the next ones."""


class JobReader:
    """The reads of `TrackerApi` that clients repeat. The tracker is asked where the answer is not known."""

    def __init__(
        self,
        tracker: TrackerApi,
        steady: Clock = time.monotonic,
        context: Callable[[], Context] = Context,
    ) -> None:
        """`context` makes the context in which the tracker is followed.

        It is not that of the read that begins it, because Ray cancels what a request has begun when its
        client disconnects.
        """
        self._tracker = tracker
        self._steady = steady
        self._context = context
        self._name = uuid.uuid4().hex
        self._read_at = 0.0
        self._is_stopped = False
        self._following: asyncio.Task[None] | None = None
        self._lease_ends_at = 0.0
        self._lease_watch: asyncio.TimerHandle | None = None
        self._mirror = Mirror(steady)
        self._ended = _ended_jobs()
        self._first = 0
        """The number of the first copy: before all readers know it, nothing is answered from it."""
        self._confirmed = -1
        self._unconfirmed: dict[str, int] = {}
        """The number of the newest change of each job that some other reader may not know yet."""
        self._asked: dict[str, object] = {}
        """A mark for each job that the tracker is being asked for; a change of the job removes it."""
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._job_changed: dict[str, asyncio.Event] = {}
        self._queue_changed: dict[str, asyncio.Event] = {}
        """Wakes those who wait for a queued job, whose position other jobs change."""

    async def view(self, job_id: str) -> JobView | None:
        """Return the job as a poll sees it; None if the id is unknown."""
        self._keep_following()
        if view := self._remembered(job_id):
            return view
        async with self._asking:
            # News may have come while this read waited for its turn.
            return self._remembered(job_id) or await self._ask(job_id)

    async def wait(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """Return the job once its version differs from the one given, or after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            view = await self.view(job_id)
            left = deadline - loop.time()
            if view is None or view.version != version or view.state.is_final or left <= 0:
                return view
            if not self._may_answer(job_id) or job_id not in self._mirror:
                await self._tracker.wait(job_id, version, min(left, LEASE_SECONDS))
            elif self._mirror.version(job_id) == version:
                events = self._queue_changed if view.state is JobState.QUEUED else self._job_changed
                changed = events.setdefault(job_id, asyncio.Event())
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await changed.wait()

    async def until_job_changes(self, known: JobView, timeout: float) -> None:
        """Return once a job may differ from a view of it, or after `timeout` seconds.

        That other jobs move it in the queue does not count. Where changes would not be noticed here, this
        returns after LOOK_SECONDS.
        """
        if self._lease_left <= 0 or known.job_id not in self._mirror:
            await asyncio.sleep(min(timeout, LOOK_SECONDS))
            return
        if self._mirror.has_changed(known):
            return
        changed = self._job_changed.setdefault(known.job_id, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await changed.wait()

    async def stop(self) -> None:
        """Answer nothing from memory any more, and let the tracker know."""
        self._is_stopped = True
        self._lease_ends_at = 0.0
        if self._lease_watch is not None:
            self._lease_watch.cancel()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            await self._unfollow()

    # Reads

    def _remembered(self, job_id: str) -> JobView | None:
        """Return the job from memory; None if the tracker must be asked."""
        if not self._may_answer(job_id):
            return None
        if view := self._mirror.view(job_id):
            return view
        ended = self._ended.get(job_id)
        return None if ended is None else self._mirror.with_average(ended)

    async def _ask(self, job_id: str) -> JobView | None:
        mark = self._asked.setdefault(job_id, object())
        try:
            view = await self._tracker.view(job_id)
            if view is not None and view.state.is_final and self._asked.get(job_id) is mark:
                self._ended.remember(job_id, view)
            return view
        finally:
            if self._asked.get(job_id) is mark:
                del self._asked[job_id]

    def _may_answer(self, job_id: str) -> bool:
        """Tell whether all that is known here of a job is known to every reader."""
        return self._confirmed >= self._first and job_id not in self._unconfirmed and self._lease_left > 0

    @property
    def _lease_left(self) -> float:
        return self._lease_ends_at - self._steady()

    # Following

    def _keep_following(self) -> None:
        """Follow the tracker from now on, until nobody has read anything for a while."""
        self._read_at = self._steady()
        if not self._is_stopped and (self._following is None or self._following.done()):
            self._following = asyncio.create_task(self._follow(), context=self._context())

    @property
    def _is_idle(self) -> bool:
        return self._steady() - self._read_at > IDLE_SECONDS

    async def _follow(self) -> None:
        while not self._is_idle:
            try:
                await self._follow_one_tracker()
            except (StoreError, ray.exceptions.RayError):
                pass  # Reads ask the tracker themselves, and tell their callers what is wrong.
            except Exception:
                logger.exception("the job tracker cannot be followed; trying again")
            self._lease_ends_at = 0.0
            self._wake(list(self._job_changed))
            await asyncio.sleep(RETRY_SECONDS)
        await self._unfollow()

    async def _unfollow(self) -> None:
        """Tell the tracker that no change needs to wait for this reader."""
        with suppress(StoreError, ray.exceptions.RayError, TimeoutError):
            async with asyncio.timeout(LEASE_SECONDS):  # By then it waits no longer anyway.
                await self._tracker.unfollow(self._name)

    async def _follow_one_tracker(self) -> None:
        """Copy the open jobs, and learn of changes until the tracker is another or does not keep them."""
        page = await self._tracker.open_jobs(-1, PAGE_JOBS)
        tracker, number = page.tracker, page.number
        mirror = Mirror(self._steady)
        mirror.add(page.jobs)
        while page.next_after is not None:
            page = await self._tracker.open_jobs(page.next_after, PAGE_JOBS)
            if page.tracker != tracker:
                return
            mirror.add(page.jobs)
        self._mirror, self._first, self._confirmed = mirror, number, -1
        self._ended, self._unconfirmed, self._asked = _ended_jobs(), {}, {}
        while not self._is_idle:
            asked_at = self._steady()
            news = await self._tracker.follow(self._name, tracker, number, self._confirmed)
            if news is None:
                return
            self._learn(news)
            number = news.number
            self._lease_ends_at = asked_at + LEASE_SECONDS
            self._watch_lease()

    def _learn(self, news: News) -> None:
        positions_changed = False
        for job_id, change in news.changes.items():
            positions_changed |= self._mirror.change(job_id, change.job)
            self._ended.forget(job_id)
            self._asked.pop(job_id, None)
            self._unconfirmed[job_id] = change.number
        if news.figures is not None:
            self._mirror.predict(news.figures, news.now)
        self._confirmed = news.confirmed
        confirmed = [job_id for job_id, number in self._unconfirmed.items() if number <= news.confirmed]
        for job_id in confirmed:
            del self._unconfirmed[job_id]
        if positions_changed or confirmed:
            self._wake(confirmed)

    def _watch_lease(self) -> None:
        """Wake all who wait when the lease has ended, because they must ask the tracker then."""
        if self._lease_watch is not None:
            self._lease_watch.cancel()
        if self._lease_left <= 0:
            self._wake(list(self._job_changed))
        else:
            loop = asyncio.get_running_loop()
            self._lease_watch = loop.call_later(self._lease_left, self._watch_lease)

    def _wake(self, job_ids: Collection[str]) -> None:
        """Wake those who wait for these jobs, and those who wait for queued jobs."""
        for job_id in job_ids:
            if changed := self._job_changed.pop(job_id, None):
                changed.set()
        waiting, self._queue_changed = self._queue_changed, {}
        loop = asyncio.get_running_loop()
        for index, changed in enumerate(waiting.values()):
            loop.call_later(index // WOKEN_AT_ONCE * WAKING_SECONDS, changed.set)


def _ended_jobs() -> Recent[JobView]:
    return Recent(lambda view: characters_of_result(view.result))
