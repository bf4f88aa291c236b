"""Threads for work that would hold up the event loop.

Each kind of work has a pool of its own: however many recordings are being read, no download waits for them.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


INLINE_BYTES = 4_096
"""So few bytes of a body are dealt with in less time than it takes to find a thread."""


class WorkerPool:
    """A bounded number of threads; what finds none free waits in line."""

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(
        self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """The result of a blocking call.

        A caller that is cancelled waits until the call has ended, unless it had not begun: the call may be
        using a file that the caller closes next.
        """
        running = self._executor.submit(work, *args, **kwargs)
        result = asyncio.wrap_future(running)
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            if not running.cancel():
                await asyncio.wait([result])
                if not result.cancelled():
                    result.exception()  # seen, although nobody is told any more
            raise

    async def run_unless_short(
        self,
        byte_count: int,
        work: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        """The result of work whose time grows with so many bytes; on the event loop where they are few."""
        if byte_count <= INLINE_BYTES:
            return work(*args, **kwargs)
        return await self.run(work, *args, **kwargs)


class WorkerPools:
    """The pools of a replica's API. All else that blocks (Serve's status) uses asyncio's own pool."""

    def __init__(self) -> None:
        self.bodies = WorkerPool("bodies", 2)
        """Taking bodies apart, which is bound by the processor."""
        self.recordings = WorkerPool("recordings", 4)
        """Finding, reading and copying recordings that come with requests."""
        self.storage = WorkerPool("storage", 16)
        """Songs that are downloaded, and files that are deleted."""
