"""Lets a replica hand its jobs back as soon as Serve begins to stop it.

Serve calls the destructor of a deployment only when all open requests have ended, and kills the replica after
`graceful_shutdown_timeout_s`. An event stream may stay open for longer than that, and then jobs that the
destructor was to release would lose an attempt.
"""

import asyncio
from typing import Any

import ray

from serve_app.execution.runner_thread import RunnerThread

LOOK_SECONDS = 1.0


async def release_when_draining(runners: RunnerThread) -> None:
    """Let the runners release their jobs once Serve stops this replica, while its requests are still open."""
    replica = _replica()
    while not replica._shutting_down:  # noqa: ASYNC110, Serve 2.60 tells nobody
        await asyncio.sleep(LOOK_SECONDS)
    await runners.stop()


def _replica() -> Any:
    """Return Serve's own object of the replica that this process runs. Serve 2.60 has no call for it."""
    worker = ray._private.worker.global_worker
    return worker.actors[worker.actor_id]._replica_impl
