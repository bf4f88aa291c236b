"""The measurements of a forward from which the metrics are made."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.generator.engine import StepSize


@dataclass(frozen=True)
class Forward:
    """Measurements of one forward."""

    seconds: float
    songs: int
    tokens: int
    token_slots: int
    """Tokens that the forward had room for."""
    frames: int
    """Latent frames of all rows, including padding."""
    padding_frames: int
    """Frames that only fill up the last patch of a row."""

    @classmethod
    def measured(cls, seconds: float, sizes: Sequence[StepSize], token_slots: int) -> "Forward":
        """The measurements of a forward in which each song made a step of one of `sizes`."""
        tokens = sum(size.tokens for size in sizes)
        return cls(
            seconds=seconds,
            songs=len(sizes),
            tokens=tokens,
            token_slots=max(token_slots, tokens),
            frames=sum(size.frames for size in sizes),
            padding_frames=sum(size.padding_frames for size in sizes),
        )
