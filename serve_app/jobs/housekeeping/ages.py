"""How old something is, by a wall clock that somebody may set."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger("ray.serve")

JUMP_SECONDS = 30.0
"""By less than this a wall clock is set all the time."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def steady_seconds() -> float:
    """A clock that nobody sets. Where the system has one, it goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Different after each start of the machine, which starts `steady_seconds` anew; "" where unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class RetentionClock:
    """A wall clock to tell ages by, that never runs ahead of the time that has really passed.

    Where the wall clock is set forward, everything would be old at once. So for `memory_seconds` after that
    this clock goes on as if it had not been set: by then all that was stamped before has had its time.
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
        """When the wall clock was how far ahead of the steady one. They rise: the first is the smallest."""
        self._last: float | None = None

    def __call__(self) -> float:
        """Epoch seconds."""
        steady = self._steady()
        offset = self._offset_now(steady)
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
        return steady + self._offsets[0][1]

    @property
    def held_back_seconds(self) -> float:
        """By how much this clock was behind the wall clock when it was last asked."""
        return (self._last or 0.0) - self._offsets[0][1] if self._offsets else 0.0

    @property
    def offset(self) -> float:
        """How far ahead of the steady clock this one is; to be given to `remember` by the next process."""
        self()
        return self._offsets[0][1]

    @property
    def is_new(self) -> bool:
        """Whether nobody has asked for the time yet."""
        return self._last is None

    def remember(self, offset: float | None) -> None:
        """Begin with the offset of an earlier process; it counts until the machine is restarted."""
        if offset is not None:
            steady = self._steady()
            self._last = offset
            self._offsets.append((steady, min(offset, self._offset_now(steady))))

    def _offset_now(self, steady: float) -> float:
        return math.floor(self._wall() - steady)  # else each call would find another one

    def _note(self, steady: float, offset: float) -> None:
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()
        self._offsets.append((steady, offset))
