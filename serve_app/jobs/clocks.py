"""Two clocks: the wall clock, which can be set, and the steady clock, which cannot.

Records hold times of the wall clock, because people read them and another process may continue with them.
But the wall clock may be set at any time, forwards or backwards. So everything that depends on elapsed time
uses the steady clock: leases, durations, estimates, pauses.
"""

from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds: epoch seconds for the wall clock, seconds since any moment for the steady clock."""


class Deadlines:
    """Steady-clock deadlines for times that records hold, computed when a time is first seen.

    No deadline is more than `longest` seconds ahead, whatever the wall clock was when its time was written:
    a tracker that starts may read times of a clock that was set back since.
    """

    def __init__(self, wall: Clock, steady: Clock) -> None:
        self._wall = wall
        self._steady = steady
        self._due: dict[str, tuple[float, float]] = {}
        """(time in the record, time of the steady clock) by name."""

    def see(self, name: str, at: float, longest: float) -> float:
        """Return the steady-clock time for `at`, a time of the wall clock."""
        known = self._due.get(name)
        if known is None or known[0] != at:
            pause = min(max(at - self._wall(), 0.0), longest)
            known = self._due[name] = at, self._steady() + pause
        return known[1]

    def is_due(self, name: str, at: float, longest: float) -> bool:
        """Tell whether the deadline has passed."""
        return self.see(name, at, longest) <= self._steady()

    def forget(self, name: str) -> None:
        """Remove a deadline."""
        self._due.pop(name, None)


class CautiousClock:
    """A time scale on which nothing appears older than it is, for data that must not expire too early.

    It counts only the time for which a tracker ran: how long none ran cannot be known for sure. The first
    tracker of a store begins at the wall clock's time, each later one at `latest`, the last time on this
    scale that a record has. Setting the wall clock does not move it.
    """

    def __init__(self, wall: Clock, steady: Clock, latest: float | None = None) -> None:
        self._steady = steady
        self._offset = (wall() if latest is None else latest) - steady()

    def __call__(self) -> float:
        return self._offset + self._steady()
