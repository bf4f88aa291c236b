"""The JobTracker as a named Ray actor: one per application, reachable from every ingress replica."""

import asyncio
import time
from typing import Any

import ray

from configs.settings import JobSettings
from serve_app.jobs.model import Claim, JobSpec, JobView, TrackerStats
from serve_app.jobs.store import MemoryJobStore
from serve_app.jobs.tracker import JobTracker


class JobTrackerActor:
    """The tracker's methods for remote callers, and two waits: for a job to claim, for a job to change."""

    def __init__(self, settings: JobSettings) -> None:
        self._tracker = JobTracker(settings, MemoryJobStore(), time.time)
        self._work = asyncio.Event()
        self._changes: dict[str, asyncio.Event] = {}

    async def submit(self, job_id: str, spec: JobSpec) -> int:
        position = self._tracker.submit(job_id, spec)
        self._work.set()
        return position

    async def claim(self, timeout: float) -> Claim | None:
        """Lease the next job, waiting up to `timeout` seconds for one."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            for job_id in self._tracker.requeue_expired():
                self._changed(job_id)
            if claim := self._tracker.claim():
                self._changed(claim.job.job_id)
                return claim
            self._work.clear()
            try:
                await asyncio.wait_for(self._work.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                return None

    async def heartbeat(self, job_id: str, token: str, stage: str, progress: float) -> bool:
        before = self._tracker.view(job_id)
        kept = self._tracker.heartbeat(job_id, token, stage, progress)
        if kept and before is not None and before.job.stage != stage:
            self._changed(job_id)
        return kept

    async def finish(self, job_id: str, token: str, result: dict[str, Any], files: tuple[str, ...]) -> bool:
        finished = self._tracker.finish(job_id, token, result, files)
        self._changed(job_id)
        return finished

    async def fail(self, job_id: str, token: str, error: str, retryable: bool) -> bool:
        failed = self._tracker.fail(job_id, token, error, retryable)
        self._changed(job_id)
        self._work.set()
        return failed

    async def release(self, job_id: str, token: str) -> bool:
        released = self._tracker.release(job_id, token)
        self._changed(job_id)
        self._work.set()
        return released

    async def view(self, job_id: str) -> JobView | None:
        return self._tracker.view(job_id)

    async def wait(self, job_id: str, state: str, stage: str, timeout: float) -> JobView | None:
        """The job once its state or stage differs from those given, or as it is after `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            view = self._tracker.view(job_id)
            if view is None or (view.job.state, view.job.stage) != (state, stage):
                return view
            changed = self._changes.setdefault(job_id, asyncio.Event())
            try:
                await asyncio.wait_for(changed.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                return self._tracker.view(job_id)

    async def stats(self) -> TrackerStats:
        return self._tracker.stats()

    def _changed(self, job_id: str) -> None:
        if event := self._changes.pop(job_id, None):
            event.set()


def get_or_create_tracker(settings: JobSettings) -> Any:
    """The handle of the application's tracker, started by whichever replica asks first.

    Detached, because it must outlive the replica that started it; an explicit namespace, because inside Serve
    the default one depends on who started Serve.
    """
    return (
        ray.remote(JobTrackerActor)
        .options(
            name=settings.tracker_name,
            namespace=settings.tracker_namespace,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=1000,
            num_cpus=0,
        )
        .remote(settings)
    )
