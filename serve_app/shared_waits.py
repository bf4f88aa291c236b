"""Waits for news of jobs: a replica asks the tracker once for all its clients that wait for the same."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

from serve_app.jobs.model import JobView

QUESTION_SECONDS = 15.0
"""How long one question waits for its answer; it is left alone where nobody waits with it any more."""


class SharedWaits:
    """The tracker's `wait` and `wait_stage` for many callers."""

    def __init__(self, ask: Callable[..., Awaitable[Any]]) -> None:
        """`ask(method, *arguments)` calls the tracker."""
        self._ask = ask
        self._questions: dict[tuple[str, ...], asyncio.Task[JobView | None]] = {}

    async def version(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """The job once its version is another, or as it is after `timeout` seconds."""

        def is_news(view: JobView) -> bool:
            return view.version != version

        return await self._until(is_news, timeout, "wait", job_id, version)

    async def stage(self, job_id: str, state: str, stage: str, timeout: float) -> JobView | None:
        """The job once its state or stage is another, or as it is after `timeout` seconds."""

        def is_news(view: JobView) -> bool:
            return (view.state, view.stage) != (state, stage)

        return await self._until(is_news, timeout, "wait_stage", job_id, state, stage)

    async def _until(
        self, is_news: Callable[[JobView], bool], timeout: float, method: str, job_id: str, *known: str
    ) -> JobView | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (left := deadline - loop.time()) > 0:
            question = self._question(method, job_id, *known)
            await asyncio.wait({question}, timeout=left)  # which, cancelled, leaves it to the others
            if question.done():
                view = question.result()
                if view is None or view.state.is_final or is_news(view):
                    return view
        latest: JobView | None = await self._ask("view", job_id)
        return latest

    def _question(self, *key: str) -> asyncio.Task[JobView | None]:
        question = self._questions.get(key)
        if question is None:
            # In a context of its own: Ray ends what a request has begun when its client leaves.
            question = asyncio.create_task(self._answer(*key), context=Context())
            question.add_done_callback(lambda ended: self._forget(key, ended))
            self._questions[key] = question
        return question

    async def _answer(self, *key: str) -> JobView | None:
        view: JobView | None = await self._ask(*key, QUESTION_SECONDS)
        return view

    def _forget(self, key: tuple[str, ...], ended: asyncio.Task[JobView | None]) -> None:
        del self._questions[key]
        if not ended.cancelled():
            ended.exception()  # seen, even where nobody waits any more
