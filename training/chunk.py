"""Limits how much of a stage one call does."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Carry = Callable[[Path], None]
"""Copies the file of a state that was just saved to a place that outlives the machine."""


@dataclass(frozen=True)
class Chunk:
    """The limits of one call, which works for at most `minutes`."""

    minutes: float
    carry: Carry | None = None
    """Called after each save.

    With it, states are rounded to 16 bits and saved at fixed steps only, so that a run in chunks gives the
    same result as one long run.
    """
    started: float = field(default_factory=time.monotonic)

    @property
    def end(self) -> float:
        """Return the time at which the chunk is over, on the monotonic clock.

        All processes of a machine share that clock.
        """
        return self.started + 60 * self.minutes

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.end
