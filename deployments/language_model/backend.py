"""The interface of the LM's engines. They take and return token ids."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from deployments.common.messages import Sampling

URGENT_ROWS = 2
"""Rows of the batch beside `max_num_seqs` that only urgent runs may take.

So a client that waits for a song as text waits for no job's codes.
"""


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
    is_urgent: bool = False
    """Whether the run goes before others that wait, and may take one of the URGENT_ROWS."""

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
