"""Waits for news of jobs: one question to the tracker serves all of a replica's clients that wait for it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from serve_app.jobs.model import JobView
from serve_app.jobs.tracker_api import TrackerApi

QUESTION_SECONDS = 15.0
"""Longest time that one question waits for its answer; nobody repeats it once no client waits for it."""

_Question = Callable[[float], Coroutine[Any, Any, JobView | None]]
"""A method of the tracker that lacks only its time-out."""


class SharedWaits:
    """The tracker's `wait` and `wait_stage` for many callers."""

    def __init__(self, tracker: TrackerApi) -> None:
        self._tracker = tracker
        self._asked: dict[tuple[str, ...], asyncio.Task[JobView | None]] = {}
        """Questions under way, by (job id, known version) or (job id, known state, known stage)."""

    async def version(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """Return the job once its version is another, or as it is after `timeout` seconds."""

        def is_news(view: JobView) -> bool:
            return view.version != version

        ask = partial(self._tracker.wait, job_id, version)
        return await self._until(is_news, timeout, ask, job_id, version)

    async def stage(self, job_id: str, state: str, stage: str, timeout: float) -> JobView | None:
        """Return the job once its state or stage is another, or as it is after `timeout` seconds."""

        def is_news(view: JobView) -> bool:
            return (view.state, view.stage) != (state, stage)

        ask = partial(self._tracker.wait_stage, job_id, state, stage)
        return await self._until(is_news, timeout, ask, job_id, state, stage)

    async def _until(
        self, is_news: Callable[[JobView], bool], timeout: float, ask: _Question, job_id: str, *known: str
    ) -> JobView | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (left := deadline - loop.time()) > 0:
            question = self._question(ask, job_id, *known)
            # If this wait is cancelled, the question goes on for the other clients.
            await asyncio.wait({question}, timeout=left)
            if question.done():
                view = question.result()
                if view is None or view.state.is_final or is_news(view):
                    return view
        return await self._tracker.view(job_id)

    def _question(self, ask: _Question, *key: str) -> asyncio.Task[JobView | None]:
        question = self._asked.get(key)
        if question is None:
            # In a context of its own: Ray cancels what a request has begun when its client disconnects.
            question = asyncio.create_task(self._answer(ask), context=Context())
            question.add_done_callback(lambda ended: self._forget(key, ended))
            self._asked[key] = question
        return question

    @staticmethod
    async def _answer(ask: _Question) -> JobView | None:
        return await ask(QUESTION_SECONDS)

    def _forget(self, key: tuple[str, ...], ended: asyncio.Task[JobView | None]) -> None:
        del self._asked[key]
        if not ended.cancelled():
            ended.exception()  # marks it as retrieved, in case nobody waits any more
