"""Runner loops: each claims a job, runs the pipeline, renews the lease and reports the outcome.

The loops start with their ingress replica and not inside a request, because Serve cancels a request's tasks
with it. They run on a separate event loop (`serve_app.execution.runner_thread`).
"""

import asyncio
import logging
import time
import uuid
from typing import Any

from configs.settings import Settings
from deployments.common.job_log import about, log_event
from deployments.common.tracing import NO_SPANS, SpanRecorder
from serve_app.execution.attempt import Attempt
from serve_app.execution.failures import TimeLimitError, classify, frames_of
from serve_app.execution.lease import PAUSE_SECONDS, TRACKER_AWAY, Lease
from serve_app.execution.models import Models
from serve_app.execution.pipeline import run_job
from serve_app.execution.results import FinishedJob
from serve_app.jobs.clocks import Clock
from serve_app.jobs.model import Claim, Job
from serve_app.jobs.progress import JobProgress
from serve_app.jobs.tracing import attempt_origin
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.storage import AudioStorage

logger = logging.getLogger("ray.serve")

CLAIM_WAIT_SECONDS = 2.0
"""How long one claim call waits. A stopping loop lets the call end, because it may return a job."""
RETRY_PAUSE_SECONDS = 2.0
"""Retry backoff: 2 s × 4^(n−1) after attempt n, so that a short outage does not use up all attempts of a
job."""
RELEASE_SECONDS = 30.0
"""How long a replica that shuts down waits for the tracker. After that its leases expire."""
TOOK_TOO_LONG = "This job ran for longer than the {seconds:g} s that the server allows."


class Runners:
    """The runner loops of one ingress replica."""

    def __init__(
        self,
        tracker: TrackerApi,
        models: Models,
        storage: AudioStorage,
        settings: Settings,
        spans: SpanRecorder = NO_SPANS,
        steady: Clock = time.monotonic,
    ) -> None:
        self._spans = spans
        self._steady = steady
        self._tracker = tracker
        self._models = models
        self._storage = storage
        self._settings = settings
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        # Only one idle loop claims at a time, so that an idle replica makes one call and not one per loop.
        self._claiming = asyncio.Lock()

    def start(self) -> None:
        """Start `settings.jobs.runners` loops on the running event loop."""
        self._loops = [asyncio.create_task(self._run_jobs()) for _ in range(self._settings.jobs.runners)]

    def check(self) -> None:
        """Raise RuntimeError where a loop has ended, so that Serve replaces the replica."""
        for loop in self._loops:
            if loop.done() and not self._stopping.is_set():
                raise RuntimeError(f"a runner loop ended: {loop}")

    async def stop(self) -> None:
        """Stop claiming, cancel the running attempts and release their jobs, which are then not counted."""
        self._stopping.set()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _run_jobs(self) -> None:
        while not self._stopping.is_set():
            try:
                if claim := await self._claim():
                    await self._run(claim)
            except Exception as error:
                logger.error("a runner failed; going on\n%s", frames_of(error))
                logger.debug("a runner failed", exc_info=error)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _claim(self) -> Claim | None:
        token = uuid.uuid4().hex  # made here, so that a claim whose answer was lost can be repeated
        async with self._claiming:
            while not self._stopping.is_set():
                try:
                    claim = await self._tracker.claim(token, CLAIM_WAIT_SECONDS)
                except TRACKER_AWAY as error:
                    logger.warning("the job tracker is away (%s); trying again", type(error).__name__)
                    await asyncio.sleep(PAUSE_SECONDS)
                else:
                    return claim
        return None

    async def _run(self, claim: Claim) -> None:
        job = claim.job
        progress = JobProgress(len(job.spec.seeds))
        lease = Lease(self._tracker, claim, self._settings.jobs, progress)
        attempt = Attempt(
            job,
            self._models,
            self._storage,
            self._settings,
            progress,
            lease.checkpoint,
            dict(job.checkpoint.timings),
            attempt_origin(claim),
            self._spans,
            self._steady,
        )
        work = asyncio.create_task(self._make(attempt))
        lost = asyncio.create_task(lease.lost())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({work, lost, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                kept = await self._report(attempt, lease, work, {lost, stopping})
            else:
                kept = not lost.done()
                await _ended(work)
                if kept:
                    async with asyncio.timeout(RELEASE_SECONDS):
                        await lease.release()
            if not kept:
                await self._leave(job, lease)
        finally:
            await _ended(work, lost, stopping)

    async def _make(self, attempt: Attempt) -> FinishedJob:
        limit = asyncio.timeout(self._settings.jobs.timeout_seconds)
        try:
            async with limit:
                return await run_job(attempt)
        except TimeoutError:
            if not limit.expired():
                raise
            seconds = self._settings.jobs.timeout_seconds
            raise TimeLimitError(TOOK_TOO_LONG.format(seconds=seconds)) from None

    async def _report(
        self, attempt: Attempt, lease: Lease, work: asyncio.Task[FinishedJob], over: set[asyncio.Task[Any]]
    ) -> bool:
        """Report the outcome of the attempt to the tracker; False where the lease was lost before.

        The retry backoff ends early once one of the tasks in `over` is done.
        """
        job = attempt.job
        # This runner did not cancel the work, so a call was cut off at the other end.
        error = ConnectionError("a call was cut off") if work.cancelled() else work.exception()
        if error is None:
            finished = work.result()
            with self._spans.span("publishing", attempt.origin):
                return await lease.finish(finished.result, finished.files, finished.file_bytes)
        failure = classify(error)
        log_event(
            "attempt_failed",
            job.job_id,
            logging.ERROR,
            attempt=job.attempt,
            kind=failure.kind,
            retryable=failure.retryable,
            frames=frames_of(error),
        )
        logger.debug("job %s failed", job.job_id, exc_info=error, extra=about(job.job_id))
        await self._delete_songs(job)  # The next attempt writes new songs and may need the disk space.
        if failure.retryable and job.counted_attempts < self._settings.jobs.max_attempts:
            pause = RETRY_PAUSE_SECONDS * 4 ** (job.counted_attempts - 1)
            await asyncio.wait(over, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        return await lease.fail(failure)

    async def _leave(self, job: Job, lease: Lease) -> None:
        """Clean up after a lost lease: the attempt was stopped, and another runner may have the job."""
        log_event("lease_lost", job.job_id, attempt=job.attempt)
        await self._delete_songs(job)
        await lease.release()  # a restarted tracker renews all leases, so this runner may hold it again
        await lease.runner_stopped()

    async def _delete_songs(self, job: Job) -> None:
        """Delete the songs of an attempt without a result; otherwise they stay until the job ends."""
        try:
            await asyncio.to_thread(self._storage.delete_attempt, job.job_id, job.attempt)
        except OSError as error:
            logger.error(
                "the storage did not delete the songs of an attempt without a result of job %s: %s",
                job.job_id,
                error,
                extra=about(job.job_id),
            )


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
