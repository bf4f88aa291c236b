"""Predicts when results are ready, from the queue and from figures that another process may have measured."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.common.messages import Stage
from serve_app.jobs.forecast.eta import Cost
from serve_app.jobs.model import Place
from serve_app.jobs.queue.job_queue import JobQueue
from serve_app.request.work import StageWork, Work, stage_of

_NEAR = 32
"""Simulate the runners job by job up to this position; beyond it, divide the sum of the work ahead."""
_OVERDUE = 0.05
"""Remaining time of a job that exceeds its prediction, as a fraction of the prediction."""


@dataclass(frozen=True)
class RunLeft:
    """The remaining work of an attempt under way."""

    client: str
    left: Work
    """The work left at the last heartbeat."""
    heard_at: float


@dataclass(frozen=True)
class Figures:
    """All that predictions need besides the queue, as measured at one moment."""

    has_history: bool
    """Whether any job has been measured; if not, only `average_job_seconds` predicts."""
    average_job_seconds: float
    overhead_seconds: float
    """Mean seconds of a job outside its stages."""
    stage_costs: Mapping[Stage, Cost]
    """The common cost of every stage, whatever checkpoint does it."""
    model_costs: Mapping[str, Cost]
    """The costs that differ from the common one, by the names of `Work.models`."""
    pace: float
    """Seconds of recent jobs, relative to the prediction from the costs."""
    runners: int
    """Estimated number of jobs that run in parallel while others are queued."""
    runs: Mapping[str, RunLeft]
    """The attempts under way, by job id."""

    def seconds(self, work: Work) -> float:
        """Return the predicted seconds of this work, done one job at a time and at a pace of 1."""
        if not self.has_history:
            return work.jobs * self.average_job_seconds
        total = work.jobs * self.overhead_seconds
        total += sum(_seconds(self.stage_costs[stage], left) for stage, left in work.by_stage())
        for name, left in work.models.items():
            # The sum above counts this part at the common speed of all checkpoints.
            common = self.stage_costs[stage_of(name)]
            total += _seconds(self.model_costs.get(name, common), left) - _seconds(common, left)
        return max(0.0, total)


class Outlook:
    """The time that the running attempts and the queue will take. `now` is of the clock of `heard_at`.

    The queue may change, and the attempts may not: they need another outlook.
    """

    def __init__(self, figures: Figures, queue: JobQueue) -> None:
        self.figures = figures
        self.queue = queue
        self._left: list[tuple[float, float]] | None = None
        """For each attempt, the predicted seconds of what is left, and the time of its last heartbeat."""

    def until_result_of_queued(self, place: Place, work: Work, now: float) -> float:
        """Return the seconds until the result of a job that has this place in the queue and this work."""
        if not self.figures.has_history:
            return self.queue.position(place) * self.figures.average_job_seconds
        return self._until_start(place, now) + self._seconds(work)

    def until_result_of_running(self, job_id: str, now: float) -> float | None:
        """Return the seconds until the result of a running job; None if it does not run."""
        run = self.figures.runs.get(job_id)
        return None if run is None else self._remaining(run, now)

    def next_start(self, now: float) -> float:
        """Return the seconds until the next queued job is claimed."""
        return min(self._all_remaining(now), default=self.figures.average_job_seconds)

    def next_end(self, client: str, now: float) -> float:
        """Return the seconds until a client's next result."""
        ends = [self._remaining(run, now) for run in self.figures.runs.values() if run.client == client]
        if first := self.queue.first_of(client):
            ends.append(self.until_result_of_queued(*first, now))
        return min(ends, default=0.0)

    def _until_start(self, place: Place, now: float) -> float:
        free = self._all_remaining(now)
        free += [0.0] * (self.figures.runners - len(free))
        if self.queue.position(place) <= _NEAR:
            heapq.heapify(free)
            for work in self.queue.before(place):
                heapq.heapreplace(free, free[0] + self._seconds(work))
            return free[0]
        ahead = self.queue.work_before(place)
        seconds = self._seconds(ahead)
        # When its turn comes, the other runners are halfway through their jobs on average.
        others = (len(free) - 1) * seconds / ahead.jobs / 2
        return (sum(free) + seconds - others) / len(free)

    def _seconds(self, work: Work) -> float:
        return self.figures.seconds(work) * self.figures.pace

    def _all_remaining(self, now: float) -> list[float]:
        """Return the remaining seconds of each attempt under way."""
        if self._left is None:
            runs = self.figures.runs.values()
            self._left = [(self._seconds(run.left), run.heard_at) for run in runs]
        return [_still_left(seconds, heard_at, now) for seconds, heard_at in self._left]

    def _remaining(self, run: RunLeft, now: float) -> float:
        return _still_left(self._seconds(run.left), run.heard_at, now)


def _still_left(seconds: float, heard_at: float, now: float) -> float:
    return max(seconds - (now - heard_at), _OVERDUE * seconds)


def _seconds(cost: Cost, work: StageWork) -> float:
    (per_call, per_unit, per_item_unit), (calls, units, item_units) = cost, work
    return per_call * calls + per_unit * units + per_item_unit * item_units
