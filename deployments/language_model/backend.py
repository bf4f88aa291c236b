"""What the LM's engines have in common: token ids in, token ids out."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from deployments.common.errors import STALLED_SECONDS, EngineError
from deployments.common.messages import Sampling


@dataclass(frozen=True)
class TokenRequest:
    """One run of the LM."""

    prompt: list[int]
    unconditional_prompt: list[int] | None
    """The other half of a guided run; None runs unguided."""
    sampling: Sampling
    allowed: range
    """Token ids that may be drawn."""
    max_tokens: int
    regex: str | None = None
    """Text to be written, then the end of the turn."""
    structural_tag: str | None = None
    """Text and control tokens to be written, then the end of the turn: xgrammar's JSON."""

    @property
    def is_constrained(self) -> bool:
        """Whether a grammar ends the run; others draw exactly `max_tokens` tokens."""
        return self.regex is not None or self.structural_tag is not None


class Backend(Protocol):
    """An engine that runs many requests at a time."""

    capacity: int
    """Tokens, prompts and answers together, of the largest run that it can hold."""

    def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        """New tokens as they come, without the end of the turn. Leaving early aborts the run."""

    async def check_health(self) -> None:
        """Raises EngineError when the engine is dead or stalled."""

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
