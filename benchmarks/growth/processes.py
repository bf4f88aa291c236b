"""Threads with event loops in place of processes, so that one program measures the parts of several."""

import asyncio
import pickle
import selectors
import threading
import time
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, TypeVar

from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.tracker_api import TrackerApi, client_over

_Result = TypeVar("_Result")


class Turns(selectors.EpollSelector):
    """Measures the turns of an event loop: what it does before it looks for new events again."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        """Processor seconds of the longest turn."""
        self._began = float("inf")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events; the time between two calls is a turn."""
        self.longest = max(self.longest, time.thread_time() - self._began)
        events = super().select(timeout)
        self._began = time.thread_time()
        return events


class LoopThread:
    """A thread that runs an event loop."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._loop = asyncio.SelectorEventLoop(self._turns)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        assert self._thread.ident is not None
        self._clock = time.pthread_getcpuclockid(self._thread.ident)

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run `work` in this thread and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def ask(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run `work` in this thread and wait for its result in another event loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    @property
    def processor_seconds(self) -> float:
        """Processor time of the thread so far. Waits for Python's lock are not counted."""
        return time.clock_gettime(self._clock)

    def longest_turn(self) -> float:
        """Return the processor seconds of the longest turn since this was asked last."""
        longest, self._turns.longest = self._turns.longest, 0.0
        return longest

    def stop(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Wire:
    """The calls of one process to a tracker in another. Answers are pickled there and unpickled here."""

    def __init__(self, tracker: DurableTracker, home: LoopThread) -> None:
        self._tracker = tracker
        self._home = home
        self.client: TrackerApi = client_over(self._call)
        self.sizes: dict[str, list[int]] = defaultdict(list)
        """Bytes of each answer, by method."""

    async def _call(self, method: str, *arguments: Any) -> Any:
        answer = await self._home.ask(self._answer(method, *arguments))
        self.sizes[method].append(len(answer))
        return pickle.loads(answer)

    async def _answer(self, method: str, *arguments: Any) -> bytes:
        answer = await getattr(self._tracker, method)(*arguments)
        return pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
