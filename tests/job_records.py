"""Makes jobs for tests of stores and journals."""

from typing import Any

from serve_app.jobs.model import Job, JobState, Place
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.request.work import Work

SPEC = JobSpec(GenerateRequest(caption="calm piano"), seeds=(1,))
WORK = Work(1, (1.0,) * 5, (0.0, 50.0, 80.0, 10.0, 0.0))


def a_job(sequence: int, **changes: Any) -> Job:
    """Return a queued job `job-<sequence>`, created a second after the one before it."""
    place = Place(0, float(sequence), sequence)
    return Job(f"job-{sequence}", SPEC, WORK, place, created_at=1_700_000_000.0 + sequence).with_(**changes)


def a_finished_job(sequence: int, finished_at: float, **changes: Any) -> Job:
    """Return a job for which nothing is left to do."""
    return a_job(sequence, state=JobState.SUCCEEDED, finished_at=finished_at, result={}, **changes)
