"""Log lines about jobs: one per event, with the same fields in every process (docs/tracing.md)."""

import logging
import traceback
from typing import Any

from deployments.common.errors import EngineError, JobError, StorageError

logger = logging.getLogger("ray.serve")


def log_event(event: str, job_id: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log what happened to a job.

    In JSON logs the record has the keys `music_job_id`, `event` and those of `fields`; Serve would take a key
    `job_id` for Ray's own job id and remove it. `fields` must not hold text from users.
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
    """The `extra` of a log line about a job, for lines that are not events."""
    return {"music_job_id": job_id}


def expected_failures_need_no_traceback() -> None:
    """Let this process log a call that failed in an expected way in a line or a few, without a traceback.

    Serve logs every exception of a deployment as an error with its traceback, and watchers of a server's log
    take a traceback for a server that failed. A call that raised JobError is no failure: it is logged as
    information. After a StorageError or an EngineError the job is tried again.
    """
    logger.addFilter(_without_traceback)  # A filter that is there already is not added again.


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    match error:
        case JobError():
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = "The call was refused (%s).", (type(error).__name__,)
        case StorageError():
            record.msg, record.args = "The audio storage failed: %s", (error,)
        case EngineError():  # Its text may quote what a model wrote.
            places = "".join(traceback.format_tb(error.__traceback__)).rstrip()
            record.msg, record.args = "An engine failed (%s):\n%s", (type(error).__name__, places)
        case _:
            return True
    record.exc_info = None
    return True
