"""Ages by a wall clock that may be set at any time."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock

logger = logging.getLogger("ray.serve")

JUMP_SECONDS = 30.0
"""Smaller corrections of a wall clock are normal and not logged."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def steady_seconds() -> float:
    """Return the seconds of a clock that cannot be set, and that counts sleep of the machine if it can."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Return an id that changes when the machine restarts, and `steady_seconds` with it; "" if unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class RetentionClock:
    """A wall clock for ages that never runs ahead of the time that has really passed.

    If the wall clock were set forward, everything would become old at once. So for `memory_seconds` after
    that this clock goes on as if it had not been set: by then everything stamped before has expired. That
    holds for stamps that `stamp` returned, because each notes how the wall clock was set at its moment.
    Several threads may call all methods.
    """

    def __init__(
        self,
        memory_seconds: float,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_seconds,
    ) -> None:
        self._memory_seconds = memory_seconds
        self._wall = wall
        self._steady = steady
        self._offsets: deque[tuple[float, float]] = deque()
        """(steady time, offset of the wall clock), by rising offset: a sliding-window minimum."""
        self._last: float | None = None
        self._lock = Lock()
        self.is_new = True
        """Whether `remember` has not been called yet."""
        self.handed_on: float | None = None
        """The offset that the next process would get, as far as is known."""

    def __call__(self) -> float:
        """Epoch seconds for ages."""
        with self._lock:
            steady = self._read()[1]
            return steady + self._offsets[0][1]

    def stamp(self) -> float:
        """Return the time of the wall clock, for a record whose age will be asked for."""
        with self._lock:
            return self._read()[0]

    def _read(self) -> tuple[float, float]:
        """Read the wall clock and the steady clock, and note the offset between them."""
        wall, steady = self._wall(), self._steady()
        offset = _rounded(wall - steady)
        if self._last is not None and abs(offset - self._last) > JUMP_SECONDS:
            logger.error(
                "the wall clock was set by %+.0f s: nothing is deleted before its time for that",
                offset - self._last,
                extra={"event": "clock_set", "seconds": round(offset - self._last, 3)},
            )
        self._last = offset
        self._note(steady, offset)
        while self._offsets[0][0] < steady - self._memory_seconds:
            self._offsets.popleft()
        return wall, steady

    @property
    def held_back_seconds(self) -> float:
        """Seconds by which this clock was behind the wall clock when it was last read."""
        return (self._last or 0.0) - self._offsets[0][1] if self._offsets else 0.0

    @property
    def offset(self) -> float:
        """Seconds by which this clock is ahead of the steady one; the next process gives it to `remember`."""
        self()
        return self._offsets[0][1]

    def remember(self, offset: float | None) -> None:
        """Take over the offset of an earlier process, which is valid until the machine restarts.

        This is called once, before the first age is asked for.
        """
        with self._lock:
            self.is_new = False
            if offset is not None:
                steady = self._steady()
                self._last = offset
                self._note(steady, min(offset, _rounded(self._wall() - steady)))

    def _note(self, steady: float, offset: float) -> None:
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()
        self._offsets.append((steady, offset))


def _rounded(offset: float) -> float:
    return math.floor(offset)  # so that two readings find the same offset
