"""The work that clients wait for, by stage: the input of `serve_app.autoscaling`."""

from collections.abc import Collection, Iterable

from deployments.common.messages import STAGES, Stage
from serve_app.jobs.forecast.forecast import work_left
from serve_app.jobs.model import Job
from serve_app.request.work import Work, checkpoint_of, stage_of

SCALED_STAGES: tuple[Stage, ...] = ("planning", "composing", "denoising", "decoding")


class Arrivals:
    """Work submitted since this tracker started, and the part of it that was cancelled before it was done."""

    def __init__(self, first_sequence: int) -> None:
        """`first_sequence` is the sequence of the first job that this tracker will accept."""
        self._first_sequence = first_sequence
        self.submitted = Work()
        self.withdrawn = Work()

    def submit(self, job: Job) -> None:
        """Count a new job."""
        self.submitted += job.work

    def withdraw(self, job: Job) -> None:
        """Count the rest of a queued or running job that is cancelled or withdrawn."""
        if job.place.sequence >= self._first_sequence:  # else an earlier tracker counted its submit
            self.withdrawn += work_to_do(job)


def demand(
    arrivals: Arrivals, waiting: Work, running: Iterable[Job], defaults: Collection[str]
) -> dict[str, dict[str, float]]:
    """Return work by stage: submitted, withdrawn of that, waiting, and the rest of what runs.

    The work of checkpoints that are not among `defaults` stands apart, under `stage/checkpoint`. The answer
    is made of plain numbers, because Serve's controller reads it without this project's code. They are units
    of `Work`; for planning they are numbers of jobs.
    """
    left = Work.total(work_to_do(job) for job in running)
    works = {
        "submitted": arrivals.submitted,
        "withdrawn": arrivals.withdrawn,
        "waiting": waiting,
        "running": left,
    }
    return {name: _by_stage(work, defaults) for name, work in works.items()}


def work_to_do(job: Job) -> Work:
    """Return the work that a job still needs, and all of its present stage, which keeps its replica busy."""
    return work_left(job).after(job.stage, 0.0) if job.stage in STAGES else work_left(job)


def _by_stage(work: Work, defaults: Collection[str]) -> dict[str, float]:
    units: dict[str, float] = {stage: float(count) for stage, count in zip(STAGES, work.units, strict=True)}
    units["planning"] = float(work.calls[STAGES.index("planning")])
    found: dict[str, float] = {stage: units[stage] for stage in SCALED_STAGES}
    for name, (calls, its_units, _) in work.models.items():
        if checkpoint_of(name) not in defaults:
            stage = stage_of(name)
            found[name] = calls if stage == "planning" else its_units
            found[stage] -= found[name]
    return found
