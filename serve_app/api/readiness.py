"""A cache for readiness: the parts of the server are asked at most once a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

from serve_app.api.service import Condition

RENEWED_SECONDS = 1.0
"""Age from which a known condition is asked for again. Callers meanwhile get the known one at once."""
FRESH_SECONDS = 2.0
"""Age up to which a known condition is returned at once."""
PATIENCE_SECONDS = 1.0
"""How long a caller waits for a new condition before it gets the previous one."""
STALE_SECONDS = 15.0
"""Age from which the previous condition is not used any more."""


class KnownCondition:
    """The server's condition, cached. Concurrent callers share one query.

    The query takes some ten milliseconds, and much longer on a busy machine. So it begins before the known
    condition is too old, and whoever asks once a second or more often never waits for it.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[Condition]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`ask` queries the parts. It takes seconds where a part does not answer, and raises nothing."""
        self._ask = ask
        self._clock = clock
        self._known: Condition | None = None
        self._known_at = 0.0
        self._asking: asyncio.Task[Condition] | None = None

    async def __call__(self) -> Condition:
        """The condition, at most `FRESH_SECONDS` old, or `STALE_SECONDS` where the query takes long."""
        known, age = self._known, self._clock() - self._known_at
        if known is not None and age < RENEWED_SECONDS:
            return known
        if self._asking is None:
            # In a context of its own: Ray cancels what a request has begun when its client disconnects.
            self._asking = asyncio.create_task(self._find_out(), context=Context())
        if known is not None and age < FRESH_SECONDS:
            return known
        asking = self._asking
        patience = PATIENCE_SECONDS if known is not None and age < STALE_SECONDS else None
        await asyncio.wait({asking}, timeout=patience)
        if asking.done():
            return asking.result()
        assert self._known is not None
        return self._known

    async def _find_out(self) -> Condition:
        try:
            self._known = await self._ask()
            self._known_at = self._clock()
            return self._known
        finally:
            self._asking = None
