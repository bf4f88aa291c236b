"""The tracker's Prometheus metrics of jobs."""

import time
from typing import get_args

from configs import metrics
from configs.metrics import Delivery, FailureKind, Limit
from deployments.common.meter import Meter
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.observer import JobObserver, Load, Outcome, StorageState


class JobMetrics(JobObserver):
    """Counts events; it must be created in the tracker's process."""

    def __init__(self) -> None:
        self._meter = Meter(metrics.JOB_METRICS)
        self._started_at = time.time()

    def submitted(self) -> None:
        self._meter.count(metrics.SUBMITTED)

    def refused(self, limit: Limit) -> None:
        self._meter.count(metrics.REFUSED, value=limit)

    def claimed(self, job: Job) -> None:
        if job.attempt == 1 and job.started_at is not None:
            self._meter.observe(metrics.WAIT, max(0.0, job.started_at - job.created_at))

    def run_ended(self, job: Job, outcome: Outcome, at: float) -> None:
        del job, at
        if outcome in get_args(FailureKind):
            self._meter.count(metrics.FAILED_ATTEMPTS, value=outcome)

    def retried(self) -> None:
        self._meter.count(metrics.RETRIES)

    def ended(self, job: Job) -> None:
        self._meter.count(metrics.ENDED, value=job.state)
        if job.state is JobState.SUCCEEDED:
            self._succeeded(job)

    def called_back(self, outcome: Delivery) -> None:
        self._meter.count(metrics.CALLBACKS, value=outcome)

    def store_failed(self) -> None:
        self._meter.count(metrics.STORE_ERRORS)

    def set_aside(self) -> None:
        self._meter.count(metrics.SET_ASIDE)

    def loaded(self, load: Load) -> None:
        # Ray drops a gauge that is not set again within 20 s, so those of a tracker that hangs disappear.
        self._meter.set(metrics.TRACKER_STARTED, self._started_at)
        self._meter.set(metrics.QUEUE_DEPTH, load.waiting)
        self._meter.set(metrics.QUEUE_AGE, load.oldest_seconds)
        self._meter.set(metrics.RUNNING_JOBS, load.running)
        self._meter.set(metrics.STORED_BYTES, load.stored_bytes)

    def storage_seen(self, state: StorageState) -> None:
        self._meter.set(metrics.UNOWNED_FOLDERS, state.unowned_folders)
        self._meter.set(metrics.CLOCK_AHEAD, state.clock_ahead_seconds)

    def _succeeded(self, job: Job) -> None:
        audio_seconds = job.work.audio_seconds
        self._meter.count(metrics.SONGS, len(job.files))
        self._meter.count(metrics.AUDIO_SECONDS, audio_seconds)
        for stage, seconds in (job.result or {}).get("timings", {}).items():
            self._meter.observe(metrics.STAGE_SECONDS, seconds, stage)
        if job.finished_at is not None and job.started_at is not None:
            self._meter.observe(metrics.JOB_SECONDS, max(0.0, job.finished_at - job.created_at))
            work_seconds = job.finished_at - job.started_at
            if work_seconds > 0:
                self._meter.observe(metrics.REAL_TIME_FACTOR, audio_seconds / work_seconds)
