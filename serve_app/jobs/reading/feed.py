"""The tracker's side of reads that other processes answer: it tells them of changes, and waits for them.

A change may be shown to clients once every process that answers reads knows of it; until then such a process
asks the tracker, and the tracker waits. So no client ever sees an older state of a job than any client has
seen before, whichever process answers. A process that does not ask for news any more is waited for until the
lease ends for which it may answer reads without news. The idea is that of C. Gray and D. Cheriton, "Leases:
an efficient fault-tolerant mechanism for distributed file cache consistency" (SOSP 1989).
"""

import asyncio
import bisect
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile

from serve_app.jobs.clocks import Clock
from serve_app.jobs.reading.news import LEASE_SECONDS, Change, News, OpenJob, OpenJobs
from serve_app.jobs.storing.store import StoreError
from serve_app.jobs.tracker import JobTracker

DRIFT = 1.1
"""The tracker waits for a lease this much longer than its holder uses it: their clocks may differ."""
RENEW_SECONDS = LEASE_SECONDS / 4
"""After this time without changes, an answer without news renews the lease."""
PACE_SECONDS, PACE_FOR_EACH, LONGEST_PACE = 0.02, 0.01, 0.2
"""Shortest time between two publications, the time for each follower, and the maximum of both in seconds.

So many changes cost few messages, and many followers do not cost more of them.
"""
KEPT_PUBLICATIONS = 500
"""Number of publications that are kept for those that were away."""
UNHEARD_SECONDS = 60.0
"""After this time without a follower, changes are not collected any more."""
_BEFORE = "those who followed the tracker before"


@dataclass
class _Follower:
    """A process that answers reads."""

    number: int
    """The last change that it knows of."""
    lease_ends_at: float


class Feed:
    """Publishes the changes of one tracker's jobs."""

    def __init__(
        self,
        tracker: JobTracker,
        steady: Clock,
        is_showable: Callable[[str], bool],
        until_showable: Callable[[Collection[str]], Awaitable[None]],
        has_predecessor: bool,
    ) -> None:
        """`is_showable` tells whether polls may show a job's newest change, `until_showable` waits for that.

        `has_predecessor` tells that another process may have been the tracker until now, so the leases of its
        followers may go on.
        """
        self._tracker = tracker
        self._steady = steady
        self._is_showable = is_showable
        self._until_showable = until_showable
        self._name = uuid.uuid4().hex
        self._followers: dict[str, _Follower] = {}
        self._changed: set[str] = set()
        """Jobs with changes that are not published yet."""
        if has_predecessor:
            self._followers[_BEFORE] = _Follower(0, steady() + DRIFT * LEASE_SECONDS)
            # They may not know the last changes that were stored, nor that the restart raises the progress of
            # running jobs (`serve_app.jobs.progress.not_below`).
            self._changed |= tracker.begun()
        self._heard_at = steady()
        self._number = 0
        self._oldest = 0
        """The number from which on all changes are kept."""
        self._published: deque[tuple[int, Mapping[str, OpenJob | None]]] = deque()
        self._confirmed = 0
        self._listed: list[tuple[int, str]] = []
        """The sequences and ids of the jobs that were open when a copy was last begun; [] if it is complete.

        Jobs that were submitted later need not be here, because a publication tells of them.
        """
        self._progress = asyncio.Event()
        """Set, and replaced, when there is a publication or a confirmation."""
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._publishing: asyncio.Task[None] | None = None
        tracker.tell_changes(self._note)

    def close(self) -> None:
        """Publish nothing any more."""
        if self._publishing is not None:
            self._publishing.cancel()

    def open_jobs(self, after: int, limit: int) -> OpenJobs:
        """Return the jobs with sequences above `after` that wait or run.

        Jobs whose newest change is not published yet are left out, because a publication will tell of them.
        """
        self._listen()
        if after < 0 or not self._listed:
            self._listed = self._tracker.open_jobs()
        begin = bisect.bisect_left(self._listed, (after + 1, ""))
        page = self._listed[begin : begin + limit]
        job_ids = [job_id for _, job_id in page]
        self._changed |= {job_id for job_id in job_ids if not self._is_showable(job_id)}
        if self._changed:
            self._wanted.set()
        known = (self._tracker.open_job(job_id) for job_id in job_ids if job_id not in self._changed)
        is_last = begin + limit >= len(self._listed)
        if is_last:
            self._listed = []
        jobs = tuple(job for job in known if job is not None)
        return OpenJobs(self._name, self._number, jobs, None if is_last else page[-1][0])

    async def follow(self, follower: str, tracker: str, number: int, confirmed: int) -> News | None:
        """Return what has changed since `number`, once there is anything; it renews the follower's lease.

        `follower` is a name that the process gives itself, `confirmed` is what it was told last. None: the
        changes since `number` are not known here, so it must begin with `open_jobs` again.
        """
        if tracker != self._name or number < self._oldest:
            return None
        self._listen()
        known = self._followers.setdefault(follower, _Follower(number, self._lease()))
        known.number = max(known.number, number)
        self._confirm()
        ends_at = self._steady() + RENEW_SECONDS
        while self._number == number and self._confirmed == confirmed:
            left = ends_at - self._steady()
            if left <= 0 or not await self._moves_on_within(left):
                break
        if number < self._oldest:
            return None
        known = self._followers.setdefault(follower, _Follower(number, self._lease()))
        known.lease_ends_at = self._lease()
        changes = self._since(number)
        is_told = not changes and 0 <= confirmed != self._confirmed
        # All attempts under way would make each message as long as their number, whatever has changed.
        figures = None if is_told else replace(self._tracker.figures(), runs={})
        return News(self._number, changes, self._confirmed, figures, self._steady())

    def unfollow(self, follower: str) -> None:
        """Forget a process that answers no reads from memory any more."""
        if self._followers.pop(follower, None):
            self._confirm()

    async def settled(self, job_ids: Collection[str]) -> None:
        """Wait until all who answer reads know that these jobs have changed."""
        while self._is_unsettled(job_ids):
            next_end = min(one.lease_ends_at for one in self._followers.values())
            await self._moves_on_within(max(0.0, next_end - self._steady()))

    def _is_unsettled(self, job_ids: Collection[str]) -> bool:
        self._confirm()
        if not self._followers:
            return False
        unconfirmed = [jobs for _, jobs in self._after(self._confirmed)]
        return any(
            job_id in self._changed or any(job_id in jobs for jobs in unconfirmed) for job_id in job_ids
        )

    def _note(self, job_id: str) -> None:
        """A job has changed."""
        if not self._followers and self._steady() - self._heard_at > UNHEARD_SECONDS:
            self._number += 1
            self._oldest = self._confirmed = self._number
            self._published.clear()
            self._changed.clear()
            return
        self._changed.add(job_id)
        self._wanted.set()

    def _listen(self) -> None:
        """Note that somebody follows."""
        self._heard_at = self._steady()
        if self._publishing is None or self._publishing.done():  # an error may have ended it
            self._wanted.set()
            self._publishing = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        """Publish changes as long as the tracker runs."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._confirm()
            with suppress(StoreError):  # Then the tracker goes on in memory, and so do those who follow it.
                await self._until_showable(tuple(self._changed))
            showable = {job_id for job_id in self._changed if self._is_showable(job_id)}
            if showable:
                jobs = {job_id: self._tracker.open_job(job_id) for job_id in showable}
                self._changed -= showable
                self._number += 1
                self._published.append((self._number, jobs))
                self._move_on()
            if self._changed:
                self._wanted.set()
            while len(self._published) > KEPT_PUBLICATIONS:
                self._oldest, _ = self._published.popleft()
            pace = max(PACE_SECONDS, PACE_FOR_EACH * len(self._followers))
            await asyncio.sleep(min(pace, LONGEST_PACE))

    def _since(self, number: int) -> dict[str, Change]:
        return {
            job_id: Change(published, job)
            for published, jobs in reversed(list(self._after(number)))
            for job_id, job in jobs.items()
        }

    def _after(self, number: int) -> Iterator[tuple[int, Mapping[str, OpenJob | None]]]:
        """Yield the publications after a number, the newest first."""
        return takewhile(lambda publication: publication[0] > number, reversed(self._published))

    def _confirm(self) -> None:
        """See which changes all followers know, and forget those whose lease has ended."""
        now = self._steady()
        gone = [name for name, follower in self._followers.items() if follower.lease_ends_at <= now]
        for name in gone:
            del self._followers[name]
        known = min((follower.number for follower in self._followers.values()), default=self._number)
        if known > self._confirmed:
            self._confirmed = known
            self._move_on()

    def _lease(self) -> float:
        return self._steady() + DRIFT * LEASE_SECONDS

    def _move_on(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    async def _moves_on_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._progress.wait()
            return True
        return False
