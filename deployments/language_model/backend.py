"""What the LM's engines have in common: token ids in, token ids out."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

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
