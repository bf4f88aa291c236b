"""Limits the time of one chunk of work."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Rings after `minutes`. Everything that is done until then is kept."""

    minutes: float
    started: float = field(default_factory=time.monotonic)

    @property
    def has_rung(self) -> bool:
        return time.monotonic() - self.started > 60 * self.minutes
