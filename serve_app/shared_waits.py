"""Waits for news of jobs: one question to the tracker serves all of a replica's clients that wait for it."""

import asyncio
from contextvars import Context

from serve_app.jobs.model import JobView
from serve_app.jobs.tracker_api import TrackerApi

QUESTION_SECONDS = 15.0
"""Longest time that one question waits for its answer; nobody repeats it once no client waits for it."""


class SharedWaits:
    """The tracker's `wait` for many callers."""

    def __init__(self, tracker: TrackerApi) -> None:
        self._tracker = tracker
        self._asked: dict[tuple[str, str], asyncio.Task[JobView | None]] = {}
        """Questions under way, by (job id, known version)."""

    async def until_changed(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """Return the job once its version is another, or as it is after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (left := deadline - loop.time()) > 0:
            question = self._question(job_id, version)
            # If this wait is cancelled, the question goes on for the other clients.
            await asyncio.wait({question}, timeout=left)
            if question.done():
                view = question.result()
                if view is None or view.state.is_final or view.version != version:
                    return view
        return await self._tracker.view(job_id)

    def _question(self, job_id: str, version: str) -> asyncio.Task[JobView | None]:
        key = job_id, version
        question = self._asked.get(key)
        if question is None:
            # In a context of its own: Ray cancels what a request has begun when its client disconnects.
            question = asyncio.create_task(self._ask(job_id, version), context=Context())
            question.add_done_callback(lambda ended: self._forget(key, ended))
            self._asked[key] = question
        return question

    async def _ask(self, job_id: str, version: str) -> JobView | None:
        return await self._tracker.wait(job_id, version, QUESTION_SECONDS)

    def _forget(self, key: tuple[str, str], ended: asyncio.Task[JobView | None]) -> None:
        del self._asked[key]
        if not ended.cancelled():
            ended.exception()  # marks it as retrieved, in case nobody waits any more
