"""Runs an LM engine on a thread of its own. The vLLM and the transformers engine share this code.

Runs join and leave between two steps of the engine. A step gives each run of the batch its next token.
"""

import asyncio
import math
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from deployments.common.errors import EngineError
from deployments.common.processor_share import Share
from deployments.common.stall_watch import STALLED_SECONDS, StallWatch
from deployments.language_model.backend import TokenRequest

TELL_SECONDS = 0.05
"""Least time between two messages with tokens of a run."""
_CLOSE = None


@dataclass(eq=False)
class Run:
    """A request on the engine's thread, and the queue to the event loop that asked for it."""

    request: TokenRequest
    loop: asyncio.AbstractEventLoop
    matcher: Any = None
    """The grammar's state, for an engine that applies grammars itself."""
    answers: asyncio.Queue[list[int] | EngineError | None] = field(default_factory=asyncio.Queue)
    """Lists of tokens, then None, or an error."""
    tokens: list[int] = field(default_factory=list)
    untold: list[int] = field(default_factory=list)
    """New tokens that the caller has not been sent yet."""
    told_at: float = -math.inf
    cancelled: bool = False

    @property
    def rows(self) -> int:
        """Rows of the batch that the run takes: two if it is guided."""
        return 1 if self.request.unconditional_prompt is None else 2

    def prompts(self) -> list[list[int]]:
        """The prompt of each row."""
        other = self.request.unconditional_prompt
        return [self.request.prompt] if other is None else [self.request.prompt, other]

    def tell(self, answer: list[int] | EngineError | None) -> None:
        """Send an answer to the caller. The engine's thread calls this.

        Tokens may be held back for `TELL_SECONDS`, but not longer than until the end of the run.
        An event loop that is woken takes Python's lock from the engine for as long as a step's own work.
        """
        if isinstance(answer, list):
            self.untold += answer
            now = time.monotonic()
            if now - self.told_at >= TELL_SECONDS:
                self.told_at = now
                self._send_untold()
        else:
            self._send_untold()
            self._send(answer)

    def _send_untold(self) -> None:
        if self.untold:
            self._send(self.untold)
            self.untold = []

    def _send(self, answer: list[int] | EngineError | None) -> None:
        if not self.cancelled:
            self.loop.call_soon_threadsafe(self.answers.put_nowait, answer)


class ThreadedBackend(ABC):
    """The engine's thread and the calls of a `Backend`. A subclass defines what one step does.

    The engine's thread alone calls the abstract methods, except `_prepare`. An exception in a step fails the
    runs that were in it. It ends the engine unless `_recovered` returns that the engine can continue.
    """

    def __init__(self, description: str, share: Share) -> None:
        """`description` names the engine in errors; `share` is its part of the processor's cores."""
        self._description = description
        self._share = share
        self._arrivals: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._watch = StallWatch()
        self._started = threading.Event()
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="language-model", daemon=True)

    def _start(self) -> None:
        """Load the engine on its thread. Raises the exception with which loading fails."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        """Yield new tokens as they come. Closing the generator early aborts the run. Raises EngineError."""
        run = Run(request, asyncio.get_running_loop())
        await self._prepare(run)
        self._arrivals.put(run)
        if self._ended.is_set():  # The thread may not have seen this run yet.
            raise EngineError(f"{self._description} is dead: {self._failure!r}")
        try:
            with self._watch.running():
                while (answer := await run.answers.get()) is not None:
                    self._watch.progress()
                    if isinstance(answer, EngineError):
                        raise answer
                    yield answer
        finally:
            run.cancelled = True

    async def check_health(self) -> None:
        """Raises EngineError when the engine is dead or stalled."""
        if self._ended.is_set():
            raise EngineError(f"{self._description} is dead: {self._failure!r}")
        silent = self._watch.silent_seconds
        if silent > STALLED_SECONDS:
            raise EngineError(f"{self._watch.runs} runs got no token for {silent:.0f} s")

    def close(self) -> None:
        """End the thread and free the engine's memory."""
        self._arrivals.put(_CLOSE)
        self._thread.join()

    def _work(self) -> None:
        try:
            self._load()
        except Exception as error:
            self._failure = error
            return
        finally:
            self._started.set()
        try:
            while self._take_arrivals():
                self._share.set_threads()
                try:
                    self._step()
                except Exception as error:
                    if not self._recovered(error):
                        raise
        except Exception as error:
            self._failure = error
        finally:
            # This comes first, so that callers learn of the dead engine whatever fails below.
            self._ended.set()
            self._share.release()
            self._end()
            while not self._arrivals.empty():
                if (run := self._arrivals.get()) is not _CLOSE:
                    run.tell(EngineError(f"{self._description} is dead: {self._failure!r}"))

    def _take_arrivals(self) -> bool:
        """Admit new runs, and wait for one if there is nothing to do. Return False when the engine closes."""
        while True:
            idle = not self._has_work()
            if idle:
                self._share.release()
            try:
                run = self._arrivals.get(block=idle)
            except queue.Empty:
                return True
            if run is _CLOSE:
                return False
            self._admit(run)

    @abstractmethod
    async def _prepare(self, run: Run) -> None:
        """Prepare a run on the caller's event loop before it arrives."""

    @abstractmethod
    def _load(self) -> None:
        """Load the model."""

    @abstractmethod
    def _admit(self, run: Run) -> None:
        """Admit a run. It may have to wait for room in the batch."""

    @abstractmethod
    def _has_work(self) -> bool:
        """Return whether a run waits or is in the batch."""

    @abstractmethod
    def _step(self) -> None:
        """Remove cancelled runs, and give the others in the batch their next token."""

    @abstractmethod
    def _recovered(self, error: Exception) -> bool:
        """Report the error to the runs of a failed step.

        Return whether the engine can continue with others.
        """

    @abstractmethod
    def _end(self) -> None:
        """Report the end to the remaining runs, and free the engine."""
