"""Waits for news of jobs: one question serves all of a replica's clients that wait for the same news.

News of a job wake its clients one after the other, because each one then sends something. At most
`ENDS_PER_SECOND` clients learn that their job has ended. Of other news a client needs only the latest, so
these have a slower pace, which leaves the processor to the models: what a client is told is read when its
turn comes. The clients of different jobs take turns, so a job with few clients does not wait for one with
many.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Protocol

from serve_app.jobs.model import JobState, JobView

QUESTION_SECONDS = 15.0
"""Longest time that one question waits for its answer; nobody repeats it once no client waits for it."""
ENDS_PER_SECOND = 100.0
"""How many clients learn in a second, on average, that their job has ended."""
NEWS_PER_SECOND_AND_CORE = 7.0
"""How many clients learn other news in a second, on average, for each core of the machine."""
WAKES_AT_ONCE = 5
"""How many clients are woken without a pause after a quiet time."""

_Caller = asyncio.Future[JobView | None]


class JobReads(Protocol):
    """The reads that are shared, as `serve_app.jobs.reading.reader` documents them."""

    async def view(self, job_id: str, /) -> JobView | None: ...

    async def wait(self, job_id: str, version: str, timeout: float, /) -> JobView | None: ...

    async def until_job_changes(self, known: JobView, timeout: float, /) -> None: ...


@dataclass(frozen=True)
class _Question:
    """A change of a job for which clients wait: an aspect differs from what they know, or the job ends.

    An unknown job counts as ended.
    """

    job_id: str
    aspect: Callable[[JobView], object]
    known: object

    def is_answered_by(self, view: JobView | None) -> bool:
        return view is None or view.state.is_final or self.aspect(view) != self.known


class SharedWaits:
    """Waits of many clients for news of jobs, which `JobReads` tells."""

    def __init__(self, reads: JobReads, cores: int, context: Callable[[], Context] = Context) -> None:
        """`cores` is the number of cores of the machine.

        `context` makes the context in which questions are asked. It is not that of the client who asks first,
        because Ray cancels what a request has begun when its client disconnects.
        """
        self._reads = reads
        self._context = context
        self._ends = _Pace(ENDS_PER_SECOND)
        self._news = _Pace(NEWS_PER_SECOND_AND_CORE * cores)
        self._callers: dict[_Question, list[_Caller]] = {}
        """Those who wait for the answer to each question under way."""
        self._lines: dict[str, deque[_Caller]] = {}
        """Those who wait for their turn to learn the news of each job."""
        self._asking: set[asyncio.Task[None]] = set()

    async def until_changed(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """Return the job once its version is another; None if its id is unknown.

        Raises TimeoutError if there is no news within `timeout` seconds.
        """
        return await self._answer(_Question(job_id, _version, version), timeout)

    async def until_stage_changes(self, job_id: str, client: str | None, timeout: float) -> JobView | None:
        """Return the job once its state or stage is another than at the call, or after `timeout` seconds.

        It is returned at once if it has ended or belongs to another client than `client` (None: any client).
        """
        known = await self._reads.view(job_id)
        if known is None or known.state.is_final or client not in {None, known.client}:
            return known
        return await self._answer_or_view(_Question(job_id, _stage, _stage(known)), timeout)

    async def until_ended(self, job_id: str, timeout: float) -> JobView | None:
        """Return the job once it has ended, or as it stands after `timeout` seconds; None if unknown."""
        return await self._answer_or_view(_Question(job_id, _has_ended, False), timeout)

    async def _answer_or_view(self, question: _Question, timeout: float) -> JobView | None:
        with suppress(TimeoutError):
            return await self._answer(question, timeout)
        return await self._reads.view(question.job_id)

    async def _answer(self, question: _Question, timeout: float) -> JobView | None:
        async with asyncio.timeout(timeout):
            while True:
                caller: _Caller = asyncio.get_running_loop().create_future()
                self._callers_of(question).append(caller)
                view = await caller
                if question.is_answered_by(view):
                    return view

    def _callers_of(self, question: _Question) -> list[_Caller]:
        """Return the callers of a question, which is asked if it is not under way."""
        if question not in self._callers:
            self._callers[question] = []
            asking = asyncio.create_task(self._ask(question), context=self._context())
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        return self._callers[question]

    async def _ask(self, question: _Question) -> None:
        """Wait for news that answer a question, and tell its callers."""
        callers = self._callers[question]
        with _failing(callers):
            try:
                view = await self._until_answered(question, callers)
            finally:
                del self._callers[question]
            await self._tell(question.job_id, view, callers)

    async def _until_answered(self, question: _Question, callers: list[_Caller]) -> JobView | None:
        """Ask until there are news, which are returned, or nobody waits for them any more."""
        view = await self._reads.view(question.job_id)
        while view is not None and not question.is_answered_by(view) and callers:
            if question.aspect is _version:
                view = await self._reads.wait(question.job_id, view.version, QUESTION_SECONDS)
            else:  # No change of the position in the queue answers it.
                await self._reads.until_job_changes(view, QUESTION_SECONDS)
                view = await self._reads.view(question.job_id)
            callers[:] = [caller for caller in callers if not caller.done()]
        return view

    async def _tell(self, job_id: str, view: JobView | None, callers: list[_Caller]) -> None:
        """Tell callers how a job stands, after all others who wait for their turn to learn that."""
        if job_id in self._lines:
            self._lines[job_id].extend(callers)
            return
        self._lines[job_id] = line = deque(callers)
        with _failing(line):
            try:
                while _somebody_waits(line):
                    first, view = line[0], await self._view_in_turn(job_id, view)
                    while _somebody_waits(line) and line[0] is not first:  # It may have come after that read.
                        first, view = line[0], await self._reads.view(job_id)
                    if _somebody_waits(line):
                        line.popleft().set_result(view)
            finally:
                del self._lines[job_id]

    async def _view_in_turn(self, job_id: str, view: JobView | None) -> JobView | None:
        """Wait for the turn of one client, or until the job has ended, and return the job as it is then.

        `view` is the last one that was read. Other jobs move a queued one while its client waits. Nothing is
        computed for those changes, because the client will be told only of the last one.
        """
        loop = asyncio.get_running_loop()
        if not _is_over(view):
            due, is_due = self._news.next_turn(), False
            while not is_due and view is not None and not view.state.is_final:
                if (left := due - loop.time()) > 0:
                    await self._reads.until_job_changes(view, left)
                is_due = loop.time() >= due
                view = await self._reads.view(job_id)
        if _is_over(view):
            await asyncio.sleep(self._ends.next_turn() - loop.time())
            view = await self._reads.view(job_id)  # it may have been purged or requeued meanwhile
        return view


class _Pace:
    """Turns at an average rate, of which `WAKES_AT_ONCE` may be taken in advance."""

    def __init__(self, per_second: float) -> None:
        self._pause = 1 / per_second
        self._next = 0.0

    def next_turn(self) -> float:
        """Take the next turn, and return the time of the event loop at which it is due."""
        now = asyncio.get_running_loop().time()
        due = max(self._next, now)
        self._next = due + self._pause
        return max(now, due - WAKES_AT_ONCE * self._pause)


@contextmanager
def _failing(callers: Iterable[_Caller]) -> Iterator[None]:
    """Let the callers fail with the error of the block, which ends there."""
    try:
        yield
    except Exception as error:
        for caller in callers:
            if not caller.done():
                caller.set_exception(error)
    except asyncio.CancelledError:
        for caller in callers:
            caller.cancel()
        raise


def _somebody_waits(line: deque[_Caller]) -> bool:
    """Tell whether a caller waits, after removing from the head of the line those who have left."""
    while line and line[0].done():
        line.popleft()
    return bool(line)


def _version(view: JobView) -> str:
    return view.version


def _stage(view: JobView) -> tuple[JobState, str | None]:
    return view.state, view.stage


def _has_ended(view: JobView) -> bool:
    return view.state.is_final


def _is_over(view: JobView | None) -> bool:
    return view is None or view.state.is_final
