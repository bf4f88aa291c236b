"""Two clocks: one that others set, and one that never jumps.

Records carry times of the wall clock, because people read them and another process may go on with them. A
wall clock may be set at any time, forwards or backwards. So whatever is decided by the passing of time is
decided by the steady clock: leases, durations, estimates, pauses.
"""

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds. The wall clock's are epoch seconds; the steady clock's begin anywhere."""


class Deadlines:
    """When things are due whose time stands in a record: found on the steady clock when they are first seen.

    `longest` bounds the seconds that anything is waited for, whatever the wall clock was when it was written.
    """

    def __init__(self, wall: Clock, steady: Clock, longest: float) -> None:
        self._wall = wall
        self._steady = steady
        self._longest = longest
        self._due: dict[str, tuple[float, float]] = {}
        """By name, the time of the record and that of the steady clock."""

    def see(self, name: str, at: float) -> float:
        """The steady clock's time of `at`, which is of the wall clock."""
        known = self._due.get(name)
        if known is None or known[0] != at:
            pause = min(max(at - self._wall(), 0.0), self._longest)
            known = self._due[name] = at, self._steady() + pause
        return known[1]

    def is_due(self, name: str, at: float) -> bool:
        """Whether the time has come."""
        return self.see(name, at) <= self._steady()

    def forget(self, name: str) -> None:
        """Nothing is waited for any more."""
        self._due.pop(name, None)


class CautiousClock:
    """A time scale on which nothing is ever older than it is: for what must not be forgotten too soon.

    It counts the time for which a tracker ran. The first tracker of a store begins at the wall clock's time,
    each later one at `latest`, the last time that a record has of this scale: how long no tracker ran is not
    known for sure. Setting the wall clock does not move it.
    """

    def __init__(self, wall: Clock, steady: Clock, latest: float | None = None) -> None:
        self._steady = steady
        self._offset = (wall() if latest is None else latest) - steady()

    def __call__(self) -> float:
        return self._offset + self._steady()
