"""When an ended job and its songs are deleted."""

from configs.settings import StorageSettings
from serve_app.jobs.model import Job


def keep_until(job: Job, finished_at: float) -> float | None:
    """Return when a job that ends now shall be gone by its own request; None: only the server decides."""
    kept = job.spec.request.keep_seconds
    return None if kept is None else finished_at + kept


def expires_at(job: Job, settings: StorageSettings) -> float | None:
    """Return when a job's songs are deleted, or the job itself if it has none; None until it has ended.

    A server without room may delete songs earlier (`storage.max_bytes`).
    """
    if not job.state.is_final or job.finished_at is None:
        return None
    at = job.finished_at + (settings.result_seconds if job.files else settings.record_seconds)
    return at if job.keep_until is None else min(at, job.keep_until)
