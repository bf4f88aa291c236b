"""Songs of concurrent requests through one engine, on one private thread, a step at a time."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from deployments.generator.engine import GeneratorEngine, Song
from deployments.messages import DenoisedLatents, DenoiseRequest, Progress

_News = Progress | DenoisedLatents | Exception


@dataclass(eq=False)
class _Entry:
    request: DenoiseRequest
    song: Song | None = None
    news: asyncio.Queue[_News] = field(default_factory=asyncio.Queue)


class StepBatcher:
    """Runs songs side by side: they take turns, a step each, so that none waits for another to end.

    A cancelled request leaves after the step that is running; nothing goes on behind its back.
    """

    def __init__(self, engine: GeneratorEngine) -> None:
        self._engine = engine
        self._entries: deque[_Entry] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dit")
        self._loop_task: asyncio.Task[None] | None = None
        self._tick_started: float | None = None

    async def run(self, request: DenoiseRequest) -> AsyncGenerator[Progress | DenoisedLatents, None]:
        """Progress after each step, then the latents. Raises what went wrong with this request."""
        entry = _Entry(request)
        self._entries.append(entry)
        if self._loop_task is None or self._loop_task.done():
            self._loop_task = asyncio.create_task(self._run_entries())
        try:
            while True:
                news = await entry.news.get()
                if isinstance(news, Exception):
                    raise news
                yield news
                if isinstance(news, DenoisedLatents):
                    return
        finally:
            if entry in self._entries:
                self._entries.remove(entry)

    def check(self, stalled_seconds: float) -> None:
        """Raise RuntimeError where a step has hung for so long, or the loop has died."""
        if self._loop_task is not None and self._loop_task.done():
            self._loop_task.result()
        if self._tick_started is not None:
            seconds = time.monotonic() - self._tick_started
            if seconds > stalled_seconds:
                raise RuntimeError(f"a step of the DiT has been running for {seconds:.0f} s")

    async def _run_entries(self) -> None:
        loop = asyncio.get_running_loop()
        while self._entries:
            entry = self._entries[0]
            self._tick_started = time.monotonic()
            news = await loop.run_in_executor(self._thread, self._advance, entry)
            self._tick_started = None
            for item in news:
                entry.news.put_nowait(item)
            if entry in self._entries:  # its caller may have left meanwhile
                self._entries.remove(entry)
                if isinstance(news[-1], Progress):
                    self._entries.append(entry)

    def _advance(self, entry: _Entry) -> list[_News]:
        """Start or step the entry's song. News for its caller; anything but Progress is the last."""
        try:
            if entry.song is None:
                entry.song = self._engine.start(entry.request)
            self._engine.step([entry.song])
            trajectory = entry.song.trajectory
            progress = Progress("denoising", trajectory.step, trajectory.steps)
            return [progress, self._engine.finish(entry.song)] if trajectory.done else [progress]
        except Exception as error:
            return [error]
