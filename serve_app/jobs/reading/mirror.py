"""A copy of the jobs that wait or run, with the same positions and predictions as the tracker's."""

from collections.abc import Iterable
from dataclasses import replace

from serve_app.jobs.clocks import Clock
from serve_app.jobs.forecast.outlook import Figures, Outlook, RunLeft
from serve_app.jobs.model import JobState, JobView
from serve_app.jobs.queue.job_queue import JobQueue, QueuedJob
from serve_app.jobs.reading.news import OpenJob


class Mirror:
    """The open jobs of a tracker, as far as its news have told of them."""

    def __init__(self, steady: Clock) -> None:
        self._steady = steady
        self._jobs: dict[str, OpenJob] = {}
        self._runs: dict[str, RunLeft] = {}
        self._queue = JobQueue()
        self._outlook: Outlook | None = None
        self._figures: Figures | None = None
        self._ahead = 0.0
        """Seconds by which the tracker's steady clock is ahead of ours."""

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def add(self, jobs: Iterable[OpenJob]) -> None:
        """Add jobs of a first copy."""
        for job in jobs:
            self.change(job.view.job_id, job)

    def change(self, job_id: str, job: OpenJob | None) -> bool:
        """Replace a job, or remove it if it has ended; return whether positions have changed."""
        before = self._jobs.pop(job_id, None)
        self._runs.pop(job_id, None)
        was_queued = before is not None and before.view.state is JobState.QUEUED
        is_queued = job is not None and job.view.state is JobState.QUEUED
        if before is not None and was_queued:
            self._queue.remove(before.place)
        if job is not None:
            self._jobs[job_id] = job
            if is_queued:
                self._queue.add(job.place, QueuedJob(job_id, job.view.client, job.work))
            if job.run is not None:
                self._runs[job_id] = job.run
        return was_queued or is_queued

    def predict(self, figures: Figures, now: float) -> None:
        """Use new figures, which the tracker has sent at a time of its steady clock."""
        self._figures = replace(figures, runs=self._runs)
        self._outlook = Outlook(self._figures, self._queue)
        self._ahead = now - self._steady()

    def version(self, job_id: str) -> str:
        """Return the version of a job's view. Raises KeyError if the job is not here."""
        return self._placed(self._jobs[job_id]).version

    def has_changed(self, known: JobView) -> bool:
        """Tell whether the attempt, state, stage or progress of a job differs from a view of it.

        Raises KeyError if the job is not here.
        """
        now = self._jobs[known.job_id].view
        return (now.attempt, now.state, now.stage, now.progress) != (
            known.attempt,
            known.state,
            known.stage,
            known.progress,
        )

    def view(self, job_id: str) -> JobView | None:
        """Return a job as polls see it; None if it is not here, or if there are no figures yet."""
        job = self._jobs.get(job_id)
        if job is None or self._outlook is None or self._figures is None:
            return None
        now = self._steady() + self._ahead
        if job.view.state is JobState.QUEUED:
            eta: float | None = self._outlook.until_result_of_queued(job.place, job.work, now)
        else:
            eta = self._outlook.until_result_of_running(job_id, now)
        if eta is None:
            return None
        average = self._figures.average_job_seconds
        return replace(self._placed(job), eta_seconds=eta, avg_job_seconds=average)

    def with_average(self, view: JobView) -> JobView:
        """Return the view of a job that has ended with the present mean duration of jobs."""
        average = view.avg_job_seconds if self._figures is None else self._figures.average_job_seconds
        return replace(view, avg_job_seconds=average)

    def _placed(self, job: OpenJob) -> JobView:
        if job.view.state is not JobState.QUEUED:
            return job.view
        return replace(job.view, queue_position=self._queue.position(job.place))
