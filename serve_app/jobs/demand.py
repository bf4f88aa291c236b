"""The work that replicas are wanted for: what `serve_app.autoscaling` scales by."""

from collections.abc import Iterable

from deployments.messages import STAGES, Stage
from serve_app.jobs.forecast import work_left
from serve_app.jobs.model import Job
from serve_app.jobs.work import Work

SCALED_STAGES: tuple[Stage, ...] = ("planning", "composing", "denoising", "decoding")


def demand(submitted: Work, waiting: Work, running: Iterable[Job]) -> dict[str, dict[str, float]]:
    """Work by stage: all that was ever submitted, what waits, and what is left of the jobs that run.

    Plain numbers, because Serve's controller reads them without this project's code. In units of `Work`; for
    planning the number of jobs.
    """
    left = Work.total(_left(job) for job in running)
    return {"submitted": _by_stage(submitted), "waiting": _by_stage(waiting), "running": _by_stage(left)}


def _left(job: Job) -> Work:
    """Of the stage that a job is in, everything: it is busy with it."""
    return work_left(job).after(job.stage, 0.0) if job.stage in STAGES else work_left(job)


def _by_stage(work: Work) -> dict[str, float]:
    units: dict[Stage, float] = {stage: float(count) for stage, count in zip(STAGES, work.units, strict=True)}
    units["planning"] = float(work.calls[STAGES.index("planning")])
    return {stage: units[stage] for stage in SCALED_STAGES}
