"""Two lines in the log that say when the application can serve.

They have the words of a Uvicorn server, because the worker of a GPU marketplace waits for them before it
sends requests to the machine.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ray.serve.context import _get_global_client

from serve_app.api.service import Condition

logger = logging.getLogger("ray.serve")

LOOK_SECONDS = 1.0


async def announce(condition: Callable[[], Awaitable[Condition]], address: Callable[[], str]) -> None:
    """Write the lines as soon as every deployment that a default request needs can serve.

    `address` blocks and gives host and port.
    """
    while (known := await condition()).mode is None or known.away:  # noqa: ASYNC110, nobody else tells
        await asyncio.sleep(LOOK_SECONDS)
    where = await asyncio.to_thread(address)
    logger.info("Application startup complete.", extra={"event": "ready"})
    logger.info("Uvicorn running on http://%s", where)


def proxy_address() -> str:
    """Host and port of the HTTP proxies of this Serve instance."""
    options = _get_global_client().http_config
    return f"{options.host}:{options.port}"
