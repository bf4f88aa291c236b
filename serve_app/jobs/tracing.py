"""The spans of a job's trace, and how separate processes derive the same ids for them.

    submit                        recorded by the replica that got the request; links to the client's trace
    └── job                       from submit to end; recorded by the tracker
        ├── waiting               until it is claimed; recorded by the tracker
        └── attempt 1             recorded by the tracker, so that it exists even if the process was killed
            ├── planning …        a span per stage; recorded by the runner
            │   └── plan …        recorded by the model deployments

The trace id is the job id. The job's record keeps the context of the submit span; the span id of the job is
derived from it, and that of an attempt from the token of its lease.
"""

import re
import secrets
import uuid

from configs.settings import TracingSettings
from deployments.common.messages import Origin
from deployments.common.tracing import SpanRecorder, child_of, with_span_id
from serve_app.jobs.model import Claim, Job
from serve_app.jobs.observer import JobObserver, Outcome

_TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SPAN_DIGITS = 16
_RANDOM_BITS = 56
"""Number of last bits of a job id, as of a trace id (W3C Trace Context level 2), that are random."""


def submit_context(job_id: str, settings: TracingSettings) -> str | None:
    """Return the context of the span of a job's submit; None if the job is not to be traced.

    This decides for the whole job. The decision follows from the job id, so every process gets the same.
    """
    job = uuid.UUID(job_id)
    share = (job.int & ((1 << _RANDOM_BITS) - 1)) / (1 << _RANDOM_BITS)
    if settings.exporter is None or share >= settings.sampling_ratio:
        return None
    return f"00-{job.hex}-{secrets.token_hex(_SPAN_DIGITS // 2)}-01"


def client_context(header: str | None) -> str | None:
    """Return the client's span from a `traceparent` header; None if it is missing or invalid."""
    return header if header is not None and _TRACEPARENT.fullmatch(header) else None


def attempt_origin(claim: Claim) -> Origin:
    """Return the origin that a runner passes to the models: the job and the attempt's span."""
    return Origin(claim.job.job_id, _attempt_context(claim.job, claim.token))


class JobSpans(JobObserver):
    """Records the tracker's spans."""

    def __init__(self, spans: SpanRecorder) -> None:
        self._spans = spans

    def claimed(self, job: Job) -> None:
        """Record the span `waiting`."""
        if job.claimed_at is not None:
            self._waited(job, job.claimed_at)

    def run_ended(self, job: Job, outcome: Outcome, at: float) -> None:
        """Record the span of the attempt."""
        if job.lease_token is None or job.claimed_at is None:
            return
        self._spans.record(
            f"attempt {job.attempt}",
            _attempt_context(job, job.lease_token),
            _job_context(job),
            job.claimed_at,
            at,
            {"acestep.outcome": outcome},
            error=None if outcome in {"succeeded", "cancelled"} else outcome,
        )

    def ended(self, job: Job) -> None:
        """Record the span of the job."""
        if job.finished_at is None:
            return
        if job.claimed_at is None or (job.queued_at or 0.0) > job.claimed_at:
            self._waited(job, job.finished_at)
        attributes = {
            "acestep.job_id": job.job_id,
            "acestep.state": job.state.value,
            "acestep.attempts": job.attempt,
            "acestep.songs": len(job.spec.seeds),
            "acestep.audio_seconds": job.work.audio_seconds,
        }
        if job.request_id is not None:
            attributes["acestep.request_id"] = job.request_id
        error = job.state.value if job.error is not None else None
        self._spans.record(
            "job", _job_context(job), job.traceparent, job.created_at, job.finished_at, attributes, error
        )

    def _waited(self, job: Job, until: float) -> None:
        context = _job_context(job)
        started = job.created_at if job.queued_at is None else job.queued_at
        self._spans.record("waiting", child_of(context), context, started, until)


def _job_context(job: Job) -> str | None:
    if job.traceparent is None:
        return None
    submit = int(job.traceparent.split("-")[2], 16)
    return with_span_id(job.traceparent, f"{submit ^ 1:0{_SPAN_DIGITS}x}")


def _attempt_context(job: Job, token: str) -> str | None:
    """Return the context of an attempt, by its lease: a released attempt has the number of the next one."""
    return None if job.traceparent is None else with_span_id(job.traceparent, token[:_SPAN_DIGITS])
