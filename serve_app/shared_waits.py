"""Waits for news of jobs: one question to the tracker serves all of a replica's clients that wait for it.

An answer wakes its clients one after the other, at most `WAKES_PER_SECOND` of them, because each one then
sends something. Otherwise news for a thousand clients would occupy the event loop for seconds. The clients of
different jobs take turns, so a job with few clients does not wait for one with many.
"""

import asyncio
from contextvars import Context
from typing import Protocol

from serve_app.jobs.model import JobView

QUESTION_SECONDS = 15.0
"""Longest time that one question waits for its answer; nobody repeats it once no client waits for it."""
WAKES_PER_SECOND = 100.0
"""How many waiting clients are woken in a second, on average."""
WAKES_AT_ONCE = 50
"""How many are woken without a pause after a quiet time."""
FRESH_SECONDS = 0.5
"""Age from which a view is not told any more: the tracker is asked for the job as it is by then."""

_Caller = asyncio.Future[JobView | None]


class JobReads(Protocol):
    """The reads that are shared, as `serve_app.jobs.tracker_api` documents them."""

    async def view(self, job_id: str, /) -> JobView | None: ...

    async def wait(self, job_id: str, version: str, timeout: float, /) -> JobView | None: ...


class SharedWaits:
    """`JobReads.wait` for many callers."""

    def __init__(self, reads: JobReads) -> None:
        self._reads = reads
        self._pace = _Pace()
        self._callers: dict[tuple[str, str], list[_Caller]] = {}
        """Those who wait for each question under way, by (job id, known version)."""
        self._asking: set[asyncio.Task[None]] = set()

    async def until_changed(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """Return the job once its version is another; None if its id is unknown.

        Raises TimeoutError if there is no news within `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while True:
                caller: _Caller = asyncio.get_running_loop().create_future()
                self._callers_of(job_id, version).append(caller)
                view = await caller
                if _is_news(view, version):
                    return view

    def _callers_of(self, job_id: str, version: str) -> list[_Caller]:
        """Return the callers of a question, which is asked if it is not under way."""
        key = job_id, version
        if key not in self._callers:
            self._callers[key] = []
            # In a context of its own: Ray cancels what a request has begun when its client disconnects.
            asking = asyncio.create_task(self._answer(job_id, version), context=Context())
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        return self._callers[key]

    async def _answer(self, job_id: str, version: str) -> None:
        callers = self._callers[job_id, version]
        try:
            try:
                view = await self._news(job_id, version, callers)
            finally:
                del self._callers[job_id, version]
            await self._tell(job_id, view, callers)
        except Exception as error:
            for caller in _waiting(callers):
                caller.set_exception(error)
        except asyncio.CancelledError:
            for caller in callers:
                caller.cancel()
            raise

    async def _news(self, job_id: str, version: str, callers: list[_Caller]) -> JobView | None:
        """Ask until there is news, or nobody waits for it any more."""
        while True:
            view = await self._reads.wait(job_id, version, QUESTION_SECONDS)
            callers[:] = _waiting(callers)
            if _is_news(view, version) or not callers:
                return view

    async def _tell(self, job_id: str, view: JobView | None, callers: list[_Caller]) -> None:
        loop = asyncio.get_running_loop()
        seen_at = loop.time()
        for caller in callers:
            if caller.done():
                continue
            await self._pace.turn()
            if loop.time() - seen_at > FRESH_SECONDS:
                seen_at = loop.time()
                view = await self._reads.view(job_id)
            if not caller.done():
                caller.set_result(view)


class _Pace:
    """Turns at `WAKES_PER_SECOND`, of which `WAKES_AT_ONCE` may be taken in advance."""

    def __init__(self) -> None:
        self._next = 0.0
        """Time at which the next turn is due."""

    async def turn(self) -> None:
        now = asyncio.get_running_loop().time()
        due = max(self._next, now)
        self._next = due + 1 / WAKES_PER_SECOND
        early = WAKES_AT_ONCE / WAKES_PER_SECOND
        if due - now > early:
            await asyncio.sleep(due - now - early)


def _is_news(view: JobView | None, version: str) -> bool:
    return view is None or view.state.is_final or view.version != version


def _waiting(callers: list[_Caller]) -> list[_Caller]:
    """Return the callers that neither have an answer nor have left."""
    return [caller for caller in callers if not caller.done()]
