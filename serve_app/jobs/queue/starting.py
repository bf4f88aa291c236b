"""The deadlines of jobs that must have begun by a certain time (`start_within_seconds`)."""

from heapq import heappop, heappush

from serve_app.jobs.clocks import Clock, Deadlines
from serve_app.jobs.model import Job

NOT_BEGUN = "The server was too busy: the job had not begun within the {seconds:.3g} s that it was given."


class StartDeadlines:
    """Knows which waiting jobs have a deadline. It passes with time, even if the wall clock is set."""

    def __init__(self, wall: Clock, steady: Clock) -> None:
        self._steady = steady
        self._deadlines = Deadlines(wall, steady)
        self._due: dict[str, float] = {}
        """Time of the steady clock by the id of each job that is watched."""
        self._in_order: list[tuple[float, str]] = []
        """A heap of times and ids, so that a claim looks at the next deadline only. Some were forgotten."""

    def watch(self, job: Job) -> None:
        """Begin to watch a job that waits, if it has a deadline."""
        if job.start_by is not None:
            due = self._deadlines.see(job.job_id, job.start_by, job.start_by - job.created_at)
            self._due[job.job_id] = due
            heappush(self._in_order, (due, job.job_id))

    def forget(self, job_id: str) -> None:
        """Stop watching a job that has begun or ended."""
        if self._due.pop(job_id, None) is not None:
            self._deadlines.forget(job_id)

    def passed(self) -> list[str]:
        """Return the jobs whose deadline has passed, once; some of them may have ended before."""
        found = []
        while self._in_order and self._in_order[0][0] <= self._steady():
            due, job_id = heappop(self._in_order)
            if self._due.get(job_id) == due:
                found.append(job_id)
        return found
