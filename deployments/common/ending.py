"""The end of a replica whose engine cannot go on."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from deployments.common.errors import EngineError

logger = logging.getLogger("ray.serve")


@asynccontextmanager
async def ending_with_its_engine(check_health: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """End the replica at once if its engine died in the block, which `check_health` tells by raising.

    Serve then starts another one, and callers see a lost replica and retry. Otherwise calls would fail here
    until the next health checks, and would even be sent here first, because they end so fast.
    """
    try:
        yield
    except EngineError:
        try:
            await check_health()
        except Exception:
            logger.critical("the replica ends because its engine did", exc_info=True)
            os._exit(1)
        raise
