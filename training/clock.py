"""How long a chunk of work may take."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Rings after `minutes`; everything that is done until then is kept."""

    minutes: float
    started: float = field(default_factory=time.monotonic)

    @property
    def has_rung(self) -> bool:
        return time.monotonic() - self.started > 60 * self.minutes
