"""A thread with a separate event loop for the runner loops of an ingress replica.

Serve handles all requests of a replica on one event loop. A request that keeps this loop busy delays other
requests, but it must not delay the renewal of a lease.
"""

import asyncio
from contextlib import ExitStack

from anyio.from_thread import start_blocking_portal

from serve_app.execution.runner import Runners


class RunnerThread:
    """Runs `Runners` on a thread. The methods of this class are called from the request loop."""

    def __init__(self, runners: Runners) -> None:
        """Start the thread and the runner loops on it. The thread ends with the process at the latest."""
        self._runners = runners
        self._thread = ExitStack()
        self._portal = self._thread.enter_context(start_blocking_portal(name="runners"))
        self._portal.call(runners.start)
        self._stopping: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise RuntimeError where a runner loop has ended, so that Serve replaces the replica."""
        self._runners.check()

    async def stop(self) -> None:
        """Let the runners release their jobs, then end the thread. Repeating the call has no effect."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        await asyncio.wrap_future(self._portal.start_task_soon(self._runners.stop))
        await asyncio.to_thread(self._thread.close)
