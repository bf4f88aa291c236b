"""Thread pools for work that would block the event loop.

Each kind of work has a separate pool, so that reading recordings does not delay downloads.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


INLINE_BYTES = 4_096
"""Bodies up to this size are processed faster than work can be passed to a thread."""


class WorkerPool:
    """A bounded number of threads with a queue."""

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(
        self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """The result of a blocking call.

        A cancelled caller waits for a call that has begun, because the call may be using a file that the
        caller closes next.
        """
        running = self._executor.submit(work, *args, **kwargs)
        result = asyncio.wrap_future(running)
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            if not running.cancel():
                await asyncio.wait([result])
                if not result.cancelled():
                    result.exception()  # retrieved, so that asyncio does not log it as lost
            raise

    async def run_unless_short(
        self,
        byte_count: int,
        work: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        """The result of work whose time grows with `byte_count`; small inputs run on the event loop."""
        if byte_count <= INLINE_BYTES:
            return work(*args, **kwargs)
        return await self.run(work, *args, **kwargs)


class WorkerPools:
    """The pools of a replica's API. Other blocking calls (Serve's status) use asyncio's default pool."""

    def __init__(self) -> None:
        self.bodies = WorkerPool("bodies", 2)
        """Parsing bodies, which is bound by the processor."""
        self.recordings = WorkerPool("recordings", 4)
        """Opening, reading and copying the recordings of requests."""
        self.storage = WorkerPool("storage", 16)
        """Reading songs for downloads, and deleting files."""
