"""Lines of the log about jobs: one per event, with the same fields in every process (docs/tracing.md)."""

import logging
from typing import Any

logger = logging.getLogger("ray.serve")


def log_event(event: str, job_id: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log what happened to a job.

    As JSON the record has the keys `music_job_id`, `event` and those of `fields`: Serve takes `job_id` for
    Ray's own and removes it. Nothing that a user wrote belongs into `fields`.
    """
    if not logger.isEnabledFor(level):
        return
    said = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
    logger.log(
        level,
        "job %s %s%s",
        job_id,
        event,
        "".join(f" {name}={value}" for name, value in said.items()),
        extra={**about(job_id), "event": event, **said},
        stacklevel=2,
    )


def about(job_id: str) -> dict[str, str]:
    """`extra` of a line about a job that is no event."""
    return {"music_job_id": job_id}
