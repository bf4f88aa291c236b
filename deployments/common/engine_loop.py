"""The asyncio task that drives an engine, the engine's calls on their threads, and the health of both."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from deployments.common.errors import EngineError
from deployments.common.stall_watch import STALLED_SECONDS, StallWatch

_Result = TypeVar("_Result")


class EngineLoop:
    """Runs one coroutine while there are requests, and knows whether the engine still answers.

    The engine cannot go on when its device is lost, when the coroutine failed, or when a call hangs.
    """

    def __init__(self, model: str, call: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`serve` handles all requests that are waiting, and returns when none is left.

        `model` ("DiT") and `call` ("a step") are the words for the engine and one of its calls in errors.
        """
        self._model = model
        self._call = call
        self._serve = serve
        self._task: asyncio.Task[None] | None = None
        self._watches: dict[ThreadPoolExecutor, StallWatch] = {}
        self._device_error: torch.AcceleratorError | None = None

    def wake(self) -> None:
        """Start the task unless it is running. Callers add their request first."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())

    async def run_on(self, thread: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
        """The result of `work` on `thread`, which makes one call at a time."""
        with self._watches.setdefault(thread, StallWatch()).running():
            return await asyncio.get_running_loop().run_in_executor(thread, work)

    def noted(self, error: Exception) -> Exception:
        """Return the error for the caller of the engine.

        An error which means that the device is lost is remembered, because every later call on it fails, too,
        and becomes an EngineError: the job is not to blame, and can be tried again elsewhere.
        """
        if not isinstance(error, torch.AcceleratorError):
            return error
        self._device_error = error
        return EngineError(f"the device of the {self._model} is lost")

    def check(self, stalled_seconds: float = STALLED_SECONDS) -> None:
        """Raise RuntimeError if the device is lost or a call has been running for over `stalled_seconds`.

        Raises the exception of the task if it failed.
        """
        if self._device_error is not None:
            raise RuntimeError(f"the device of the {self._model} is lost") from self._device_error
        if self._task is not None and self._task.done():
            self._task.result()
        seconds = max((watch.silent_seconds for watch in self._watches.values()), default=0.0)
        if seconds > stalled_seconds:
            raise RuntimeError(f"{self._call} of the {self._model} has been running for {seconds:.0f} s")
