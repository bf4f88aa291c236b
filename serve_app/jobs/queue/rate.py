"""Each client's rate of submits, limited by a token bucket."""

import math

_FORGET_ABOVE = 1000
"""Number of clients above which full buckets are forgotten; most are addresses that never come back."""
_ROUNDING = 1e-3
"""Waits shorter than this (in seconds) are rounding errors of sums of times, and count as none."""


class SubmitRate:
    """Token buckets of `burst` tokens that gain `per_second` tokens a second; each submit takes one.

    A bucket is stored as the time at which it will be full (the "generic cell rate algorithm" of ATM
    networks). If the clock is set back, no time has passed.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1.0 / per_second
        self._burst = burst
        self._full_at: dict[str, float] = {}
        self._forget_at = _FORGET_ABOVE
        self._passed = 0.0
        """Seconds since the first call."""
        self._last_call: float | None = None

    def wait(self, client: str, now: float) -> float:
        """Return the seconds until a client may submit; 0 if it may now."""
        until_full = self._full_at.get(client, 0.0) - self._seconds(now)
        wait = until_full - (self._burst - 1) * self._interval
        return wait if wait > _ROUNDING else 0.0

    def left(self, client: str, now: float) -> tuple[int, float]:
        """Return how many submits a client may make at once, and the seconds until it is the whole burst."""
        until_full = max(0.0, self._full_at.get(client, 0.0) - self._seconds(now))
        used = max(0, math.ceil((until_full - _ROUNDING) / self._interval))
        return max(0, self._burst - used), until_full

    def take(self, client: str, now: float) -> None:
        """Take a token for a submit."""
        passed = self._seconds(now)
        self._full_at[client] = max(self._full_at.get(client, 0.0), passed) + self._interval
        if len(self._full_at) > self._forget_at:
            self._full_at = {client: at for client, at in self._full_at.items() if at > passed}
            self._forget_at = max(_FORGET_ABOVE, 2 * len(self._full_at))

    def _seconds(self, now: float) -> float:
        if self._last_call is not None:
            self._passed += max(0.0, now - self._last_call)
        self._last_call = now
        return self._passed
