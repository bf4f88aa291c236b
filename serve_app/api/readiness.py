"""A cache for readiness: the parts of the server are asked at most once a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from serve_app.api.service import Condition

FRESH_SECONDS = 1.0
"""Age up to which a known condition is returned without asking again."""
PATIENCE_SECONDS = 1.0
"""How long a caller waits for a new condition before it gets the previous one."""
STALE_SECONDS = 15.0
"""Age from which the previous condition is not used any more."""


class KnownCondition:
    """The server's condition, cached. Concurrent callers share one query."""

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
        if self._known is not None and self._clock() - self._known_at < FRESH_SECONDS:
            return self._known
        if self._asking is None:
            self._asking = asyncio.create_task(self._find_out())
        asking = self._asking
        patience = None
        if self._known is not None and self._clock() - self._known_at < STALE_SECONDS:
            patience = PATIENCE_SECONDS
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
