"""The work that replicas are wanted for: what `serve_app.autoscaling` scales by."""

from collections.abc import Iterable

from deployments.common.messages import STAGES, Stage
from serve_app.jobs.forecast.forecast import work_left
from serve_app.jobs.model import Job
from serve_app.request.work import Work

SCALED_STAGES: tuple[Stage, ...] = ("planning", "composing", "denoising", "decoding")


class Arrivals:
    """Work that came since this tracker started, and how much of that was cancelled before it was done."""

    def __init__(self, first_sequence: int) -> None:
        """`first_sequence` is that of the first job which comes."""
        self._first_sequence = first_sequence
        self.submitted = Work()
        self.withdrawn = Work()

    def came(self, job: Job) -> None:
        """A job is in line."""
        self.submitted += job.work

    def cancelled(self, job: Job) -> None:
        """A job that waits or runs is cancelled."""
        if job.place.sequence >= self._first_sequence:  # else it did not come here
            self.withdrawn += work_to_do(job)


def demand(arrivals: Arrivals, waiting: Work, running: Iterable[Job]) -> dict[str, dict[str, float]]:
    """Work by stage: all that came, how much of that was cancelled, what waits, what is left of what runs.

    Plain numbers, because Serve's controller reads them without this project's code. In units of `Work`; for
    planning the number of jobs.
    """
    left = Work.total(work_to_do(job) for job in running)
    return {
        "submitted": _by_stage(arrivals.submitted),
        "withdrawn": _by_stage(arrivals.withdrawn),
        "waiting": _by_stage(waiting),
        "running": _by_stage(left),
    }


def work_to_do(job: Job) -> Work:
    """What a job still needs. Of the stage that it is in, that is everything: it is busy with it."""
    return work_left(job).after(job.stage, 0.0) if job.stage in STAGES else work_left(job)


def _by_stage(work: Work) -> dict[str, float]:
    units: dict[Stage, float] = {stage: float(count) for stage, count in zip(STAGES, work.units, strict=True)}
    units["planning"] = float(work.calls[STAGES.index("planning")])
    return {stage: units[stage] for stage in SCALED_STAGES}
