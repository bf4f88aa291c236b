"""Which ended jobs an operator can requeue, and with which record."""

from deployments.common.tracing import child_of
from serve_app.jobs.errors import RequeueError
from serve_app.jobs.model import Job, JobState

SUCCEEDED = "it has succeeded"
CANCELLED = "it was cancelled, and what it asked for is not kept: it must be submitted again"
RECORDINGS_GONE = "its recordings were deleted when it ended: it must be submitted again"
NOT_TIDY = "what it left in the storage is still being deleted"


def requeued_after_failure(job: Job) -> Job:
    """Return the queued record of a job that has failed: same seeds, and all attempts allowed again.

    Raises RequeueError if the job cannot be run again.
    """
    if job.state is JobState.SUCCEEDED:
        raise RequeueError(SUCCEEDED)
    if job.state is JobState.CANCELLED:
        raise RequeueError(CANCELLED)
    if job.spec.source is not None or job.spec.reference is not None:
        raise RequeueError(RECORDINGS_GONE)
    if job.tidy_at is not None:
        raise RequeueError(NOT_TIDY, later=True)
    return job.requeued().with_(
        forgiven=job.attempt,
        started_at=None,
        finished_at=None,
        error=None,
        callback=None,
        keep_until=None,
        counted=None,
        batch_callback=None,
        traceparent=child_of(job.traceparent),  # the spans up to its failure are recorded already
    )
