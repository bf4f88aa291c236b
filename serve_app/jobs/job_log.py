"""The tracker's log of job events, in a file beside those of Serve's replicas."""

import logging
import os
from typing import Any

from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import LoggingConfig

from deployments.common.job_log import log_event
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.observer import JobObserver, Outcome

COMPONENT = "job_tracker"
"""Prefix of the name of the log file."""


def log_to_serve_file() -> None:
    """Give the logger "ray.serve" of this process a file, which Serve does only for its own actors.

    This calls a private function of Serve, because there is no public one; so folder, rotation and keys of
    the records are the same. The records are always JSON: this process does not know `logging_config`.
    """
    configure_component_logger(
        component_name=COMPONENT,
        component_id=str(os.getpid()),
        logging_config=LoggingConfig(encoding="JSON", log_level="INFO"),
    )


class JobLog(JobObserver):
    """Logs a line per event."""

    def claimed(self, job: Job) -> None:
        """Log the attempt, and how long the job was queued."""
        waited_seconds = _between(job.queued_at, job.claimed_at)
        log_event("claimed", job.job_id, attempt=job.attempt, waited_seconds=waited_seconds, **_named(job))

    def run_ended(self, job: Job, outcome: Outcome, at: float) -> None:
        """Log attempts after which no `ended` follows."""
        if outcome not in {"succeeded", "cancelled"}:
            log_event(
                "attempt_ended",
                job.job_id,
                logging.WARNING,
                attempt=job.attempt,
                outcome=outcome,
                seconds=_between(job.claimed_at, at),
                **_named(job),
            )

    def ended(self, job: Job) -> None:
        """Log the final state."""
        fields: dict[str, float] = {
            "attempts": job.attempt,
            "seconds": _between(job.created_at, job.finished_at),
            "run_seconds": _between(job.started_at, job.finished_at),
        }
        if job.state is JobState.SUCCEEDED:
            fields["audio_seconds"] = job.work.audio_seconds
            fields["real_time_factor"] = job.work.audio_seconds / max(fields["run_seconds"], 1e-3)
        level = logging.WARNING if job.state is JobState.FAILED else logging.INFO
        log_event(job.state.value, job.job_id, level, **fields, **_named(job))


def _named(job: Job) -> dict[str, Any]:
    """Return the id of the request that made a job, if it is known."""
    return {} if job.request_id is None else {"request_id": job.request_id}


def _between(started: float | None, ended: float | None) -> float:
    return max(0.0, ended - started) if started is not None and ended is not None else 0.0
