"""A runner's lease of one job: renewed while the work runs, watched for loss, ended with the work."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

import ray.exceptions

from configs.settings import JobSettings
from deployments.common.job_log import log_event
from serve_app.execution.failures import Failure, frames_of
from serve_app.jobs.model import Checkpoint, Claim
from serve_app.jobs.progress import JobProgress
from serve_app.jobs.storing.store import StoreError
from serve_app.jobs.tracker_api import TrackerApi

logger = logging.getLogger("ray.serve")

TRACKER_AWAY = (StoreError, TimeoutError, ray.exceptions.RayActorError)
"""Errors of a tracker or a store that cannot answer now; repeating the call helps."""
PAUSE_SECONDS = 1.0
"""Pause between two tries."""
WATCH_SECONDS = 30.0
"""How long one call waits for the loss of the lease."""


_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


async def answered(
    method: Callable[_Arguments, Awaitable[_Answer]],
    *arguments: _Arguments.args,
    **named: _Arguments.kwargs,
) -> _Answer:
    """Call a method of the tracker until it answers. Its methods may be repeated."""
    while True:
        try:
            return await method(*arguments, **named)
        except TRACKER_AWAY as error:
            logger.warning("the job tracker is away (%s); trying again", type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)


class Lease:
    """The lease of one claim."""

    def __init__(
        self, tracker: TrackerApi, claim: Claim, settings: JobSettings, progress: JobProgress
    ) -> None:
        self._tracker = tracker
        self._job_id = claim.job.job_id
        self._token = claim.token
        self._settings = settings
        self._progress = progress

    async def lost(self) -> None:
        """Renew the lease, and return as soon as it is lost: the job was cancelled or requeued.

        If the tracker does not answer, the lease is lost `lease_seconds` after its last renewal.
        """
        watches = [asyncio.create_task(self._renew()), asyncio.create_task(self._watch())]
        try:
            ended, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            for watch in ended:
                if error := watch.exception():
                    frames = frames_of(error)
                    log_event("lease_not_watched", self._job_id, logging.ERROR, frames=frames)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Store the results of finished stages for the next attempt."""
        await answered(self._tracker.checkpoint, self._job_id, self._token, checkpoint)

    async def finish(self, result: dict[str, Any], files: tuple[str, ...], file_bytes: int) -> bool:
        """Publish the result; False if the lease was lost before."""
        return await answered(self._tracker.finish, self._job_id, self._token, result, files, file_bytes)

    async def fail(self, failure: Failure) -> bool:
        """Report that the attempt failed; False if the lease was lost before."""
        return await answered(
            self._tracker.fail,
            self._job_id,
            self._token,
            failure.message,
            failure.retryable,
            failure.kind,
        )

    async def release(self) -> None:
        """Release the unfinished job, so that it is requeued."""
        await answered(self._tracker.release, self._job_id, self._token)

    async def runner_stopped(self) -> None:
        """Tell the tracker that nothing is written for this claim any more."""
        await answered(self._tracker.runner_stopped, self._job_id)

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            asked = loop.time()
            try:
                async with asyncio.timeout_at(renewed + self._settings.lease_seconds):
                    kept = await self._tracker.heartbeat(
                        self._job_id,
                        self._token,
                        self._progress.stage,
                        self._progress.fraction,
                        self._progress.steps,
                    )
            except TRACKER_AWAY as error:
                if loop.time() >= renewed + self._settings.lease_seconds:
                    log_event("tracker_away", self._job_id, logging.WARNING, error=type(error).__name__)
                    return
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if not kept:
                return
            renewed = asked
            await self._next_beat()

    async def _next_beat(self) -> None:
        """Wait for `heartbeat_seconds`, or until the next stage if that begins earlier."""
        try:
            async with asyncio.timeout(self._settings.heartbeat_seconds):
                await self._progress.stage_changed.wait()
        except TimeoutError:
            pass
        self._progress.stage_changed.clear()

    async def _watch(self) -> None:
        while not await answered(self._tracker.lease_lost, self._job_id, self._token, WATCH_SECONDS):
            pass
