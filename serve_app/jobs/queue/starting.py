"""The deadlines of jobs that must have begun by a certain time (`start_within_seconds`)."""

from serve_app.jobs.clocks import Clock, Deadlines
from serve_app.jobs.model import Job

NOT_BEGUN = "The server was too busy: the job had not begun within the {seconds:.3g} s that it was given."


class StartDeadlines:
    """Knows which waiting jobs have a deadline. It passes with time, even if the wall clock is set."""

    def __init__(self, wall: Clock, steady: Clock) -> None:
        self._deadlines = Deadlines(wall, steady)
        self._start_by: dict[str, tuple[float, float]] = {}
        """Time of the wall clock, and the seconds from the submit until then, by job id."""

    def watch(self, job: Job) -> None:
        """Begin to watch a job that waits, if it has a deadline."""
        if job.start_by is not None:
            self._start_by[job.job_id] = job.start_by, job.start_by - job.created_at
            self._deadlines.see(job.job_id, *self._start_by[job.job_id])

    def forget(self, job_id: str) -> None:
        """Stop watching a job that has begun or ended."""
        if self._start_by.pop(job_id, None) is not None:
            self._deadlines.forget(job_id)

    def passed(self) -> list[str]:
        """Return the jobs whose deadline has passed; some of them may have ended before."""
        return [job_id for job_id, by in self._start_by.items() if self._deadlines.is_due(job_id, *by)]
