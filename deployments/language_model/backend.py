"""The interface of the LM's engines. They take and return token ids."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from deployments.common.errors import EngineError
from deployments.common.messages import Sampling

STALLED_SECONDS = 300.0
"""No sane step takes so long: the engine hangs."""


@dataclass(frozen=True)
class TokenRequest:
    """One run of the LM."""

    prompt: list[int]
    unconditional_prompt: list[int] | None
    """The unconditional prompt of a guided run; None for an unguided run."""
    sampling: Sampling
    allowed: range
    """Token ids that may be drawn."""
    max_tokens: int
    regex: str | None = None
    """A regular expression for the text; the end of the turn follows it."""
    structural_tag: str | None = None
    """xgrammar's JSON for text and control tokens; the end of the turn follows them."""

    @property
    def is_constrained(self) -> bool:
        """Whether a grammar ends the run. Without one, exactly `max_tokens` tokens are drawn."""
        return self.regex is not None or self.structural_tag is not None


class Backend(Protocol):
    """An engine that runs many requests at a time."""

    capacity: int
    """Tokens of the largest run that the engine can hold, the prompts and answers of all its rows."""

    def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        """Yield new tokens, without the end of the turn. Closing the generator early aborts the run."""

    async def check_health(self) -> None:
        """Raises EngineError if the engine is dead or stalled."""

    def close(self) -> None:
        """End the engine and free its memory."""


class StallWatch:
    """Notices an engine that has runs and makes no tokens."""

    def __init__(self, limit: float = STALLED_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._runs = 0
        self._progress_at = clock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around each run."""
        if self._runs == 0:
            self.progress()
        self._runs += 1
        try:
            yield
        finally:
            self._runs -= 1

    def progress(self) -> None:
        """Some run got tokens."""
        self._progress_at = self._clock()

    def check(self) -> None:
        """Raises EngineError when the engine is stalled."""
        silent = self._clock() - self._progress_at
        if self._runs and silent > self._limit:
            raise EngineError(f"{self._runs} runs got no token for {silent:.0f} s")
