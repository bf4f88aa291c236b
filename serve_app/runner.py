"""Runner loops: each claims a job, runs the pipeline, keeps the lease alive and finishes.

Loops start with their ingress replica, never inside a request: what starts in one is cancelled with it.
"""

import asyncio
import logging
from typing import Any

from configs.settings import Settings
from serve_app.attempt import Attempt
from serve_app.failures import classify
from serve_app.jobs.model import Claim
from serve_app.models import Models
from serve_app.pipeline import FinishedJob, run_job
from serve_app.progress import JobProgress
from serve_app.storage import AudioStorage

logger = logging.getLogger("ray.serve")

CLAIM_WAIT_SECONDS = 5.0
"""How long one claim call waits; it also bounds how late an expired lease is noticed."""
PAUSE_AFTER_ERROR_SECONDS = 1.0


class Runners:
    """The runner loops of one ingress replica."""

    def __init__(self, tracker: Any, models: Models, storage: AudioStorage, settings: Settings) -> None:
        self._tracker = tracker
        self._models = models
        self._storage = storage
        self._settings = settings
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start `settings.jobs.runners` loops on the running event loop."""
        self._loops = [asyncio.create_task(self._run_forever()) for _ in range(self._settings.jobs.runners)]

    def check(self) -> None:
        """Raise RuntimeError where a loop ended, so that the replica is replaced."""
        for loop in self._loops:
            if loop.done():
                raise RuntimeError(f"a runner loop ended: {loop}")

    async def stop(self) -> None:
        """Stop claiming and hand unfinished jobs back."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _run_forever(self) -> None:
        while True:
            try:
                claim = await self._tracker.claim.remote(CLAIM_WAIT_SECONDS)
                if claim is not None:
                    await self._run(claim)
            except Exception:
                logger.exception("a runner lost touch with the job tracker; trying again")
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def _run(self, claim: Claim) -> None:
        job = claim.job
        progress = JobProgress(len(job.spec.seeds))
        attempt = Attempt(job, self._models, self._storage, self._settings, progress)
        work = asyncio.create_task(run_job(attempt))
        try:
            if not await self._keep_lease(claim, work, progress):
                return
            await self._report(claim, work)
        except asyncio.CancelledError:
            await self._tracker.release.remote(job.job_id, claim.token)
            raise
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _keep_lease(self, claim: Claim, work: asyncio.Task[FinishedJob], progress: JobProgress) -> bool:
        """Send heartbeats until the work is done; False where the lease was lost first."""
        while not work.done():
            stage_changed = asyncio.create_task(progress.stage_changed.wait())
            await asyncio.wait(
                {work, stage_changed},
                timeout=self._settings.jobs.heartbeat_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            stage_changed.cancel()
            progress.stage_changed.clear()
            kept = await self._tracker.heartbeat.remote(
                claim.job.job_id, claim.token, progress.stage, progress.fraction
            )
            if not kept:
                return False
        return True

    async def _report(self, claim: Claim, work: asyncio.Task[FinishedJob]) -> None:
        job_id = claim.job.job_id
        error = work.exception()
        if error is None:
            finished = work.result()
            await self._tracker.finish.remote(job_id, claim.token, finished.result, finished.files)
            return
        failure = classify(error)
        logger.error("job %s failed in attempt %d", job_id, claim.job.attempt, exc_info=error)
        await self._tracker.fail.remote(job_id, claim.token, failure.message, failure.retryable)
