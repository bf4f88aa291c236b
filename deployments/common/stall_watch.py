"""Measures for how long an engine has been computing without progress."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STALLED_SECONDS = 300.0
"""Time without progress after which an engine counts as hung; no single step of an engine takes this long."""


class StallWatch:
    """Knows how many runs an engine has, and when one of them last made progress."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._progress_at = clock()
        self.runs = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Wrap each run. The time without progress starts with the first one."""
        if self.runs == 0:
            self.progress()
        self.runs += 1
        try:
            yield
        finally:
            self.runs -= 1

    def progress(self) -> None:
        """Note that one of the runs made progress."""
        self._progress_at = self._clock()

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last progress; 0 while nothing runs."""
        return self._clock() - self._progress_at if self.runs else 0.0
