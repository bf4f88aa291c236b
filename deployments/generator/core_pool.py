"""Forwards on one core each, beside the one on the engine's own thread."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from deployments.common.processor import engine_thread
from deployments.generator.scheduling import StepBatch, StepScheduler

MakeStep = Callable[[StepBatch, ThreadPoolExecutor], Coroutine[Any, Any, None]]


class CorePool:
    """Threads that compute with one core each, and take one batch after the other.

    An engine that has one forward at a time (on a GPU, or with a fixed number of threads) never uses them.
    """

    def __init__(self, scheduler: StepScheduler, make_step: MakeStep) -> None:
        """`make_step` runs the forward of a batch on a thread, and sends the results to its jobs."""
        self._scheduler = scheduler
        self._make_step = make_step
        self._threads: list[ThreadPoolExecutor] = []
        self._running: dict[int, asyncio.Task[None]] = {}
        """Running forwards, by the indices of their threads."""
        self._error: BaseException | None = None
        """The first exception out of `make_step`, which reports the failures of songs itself."""

    def __len__(self) -> int:
        """The number of running forwards."""
        return len(self._running)

    def start_forwards(self) -> None:
        """Give each idle thread a batch, while songs are waiting."""
        for index in range(self._scheduler.forwards_at_once() - 1):
            if index not in self._running and (batch := self._scheduler.next_batch()):
                task = asyncio.create_task(self._make_step(batch, self._thread(index)))
                self._running[index] = task
                task.add_done_callback(partial(self._ended, index))

    def raise_error(self) -> None:
        """Raise what went wrong in a forward, apart from failures of its songs."""
        if self._error is not None:
            raise self._error

    async def wait_for_all(self) -> None:
        """Wait until no forward runs."""
        if self._running:
            await asyncio.wait(self._running.values())

    async def wait_for_one(self) -> None:
        """Wait until a forward ends; return at once if none runs."""
        if self._running:
            await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)

    def _thread(self, index: int) -> ThreadPoolExecutor:
        while len(self._threads) <= index:
            self._threads.append(engine_thread(f"dit-beside-{len(self._threads)}"))
        return self._threads[index]

    def _ended(self, index: int, task: "asyncio.Task[None]") -> None:
        del self._running[index]
        self._error = self._error or task.exception()
        if self._error is None and not self._scheduler.in_lockstep:
            self.start_forwards()
