"""The deadlines of jobs that must have begun by a certain time (`start_within_seconds`)."""

from serve_app.jobs.clocks import Clock, Deadlines
from serve_app.jobs.model import Job
from serve_app.request.schemas import MAX_START_SECONDS

NOT_BEGUN = "The server was too busy: the job had not begun within the {seconds:.3g} s that it was given."


class StartDeadlines:
    """Knows which waiting jobs have a deadline. It passes with time, even if the wall clock is set."""

    def __init__(self, wall: Clock, steady: Clock) -> None:
        self._deadlines = Deadlines(wall, steady, MAX_START_SECONDS)
        self._start_by: dict[str, float] = {}
        """Times of the wall clock by job id."""

    def watch(self, job: Job) -> None:
        """Begin to watch a job that waits, if it has a deadline."""
        if job.start_by is not None:
            self._start_by[job.job_id] = job.start_by
            self._deadlines.see(job.job_id, job.start_by)

    def forget(self, job_id: str) -> None:
        """Stop watching a job that has begun or ended."""
        if self._start_by.pop(job_id, None) is not None:
            self._deadlines.forget(job_id)

    def passed(self) -> list[str]:
        """Return the jobs whose deadline has passed; some of them may have ended before."""
        return [job_id for job_id, at in self._start_by.items() if self._deadlines.is_due(job_id, at)]
