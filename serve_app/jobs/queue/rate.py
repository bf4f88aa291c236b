"""How often each client may submit: a token bucket for every one of them."""

_FORGET_ABOVE = 1000
"""Clients; most of them are addresses that nobody will see again."""
_ROUNDING = 1e-3
"""Seconds that nobody is made to wait for; sums of times may differ by less than that and should be equal."""


class SubmitRate:
    """Token buckets of `burst` tokens, into which `per_second` new ones fall; each submit takes one.

    Of a bucket only the moment is kept at which it will be full (the "generic cell rate algorithm" of ATM
    networks). Time that a clock is set back by counts as no time.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1.0 / per_second
        self._burst = burst
        self._full_at: dict[str, float] = {}
        self._forget_at = _FORGET_ABOVE
        self._passed = 0.0
        """Seconds that have passed since the first call."""
        self._last_call: float | None = None

    def wait(self, client: str, now: float) -> float:
        """Seconds until a client may submit; 0 where it may now."""
        until_full = self._full_at.get(client, 0.0) - self._seconds(now)
        wait = until_full - (self._burst - 1) * self._interval
        return wait if wait > _ROUNDING else 0.0

    def take(self, client: str, now: float) -> None:
        """A client has submitted."""
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
