"""When results are to be expected: the work ahead in the line and on the machines, at the speeds measured."""

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deployments.common.messages import STAGES
from serve_app.jobs.forecast.eta import SpeedHistory
from serve_app.jobs.model import Job, JobState, Place
from serve_app.jobs.progress import fraction_of_stage
from serve_app.jobs.queue.job_queue import JobQueue
from serve_app.request.work import Work

_NEAR = 32
"""Positions up to which each job ahead is given to the runner that is free first, not their sum to all."""
_RECENT_CLAIMS = 8
"""Claims whose company shows how many jobs run side by side."""
_OVERDUE = 0.05
"""What a job that has had its time is taken to need still, relative to it."""
_PACE_JOBS = 12
"""Jobs that tell the pace: it follows the load of the last minutes."""
_FULL = 0.9
"""Share of the runners that must have been busy, on average, for a job to tell the pace under load."""


@dataclass(frozen=True)
class _Run:
    """An attempt at a job."""

    client: str
    work: Work
    """What was to do when it began."""
    whole: bool
    """Whether it does all of the job's work itself."""
    since: float
    left: Work
    """What was left to do when the runner was heard of last."""
    heard_at: float
    busy_before: float
    """Seconds that all runners together had been busy when it began."""


class Forecast:
    """What runs now, and how long it and the line will take."""

    def __init__(self, speeds: SpeedHistory, queue: JobQueue) -> None:
        self._speeds = speeds
        self._queue = queue
        self._runs: dict[str, _Run] = {}
        self._side_by_side: deque[int] = deque([1], maxlen=_RECENT_CLAIMS)
        self._loaded: deque[tuple[Work, float]] = deque(maxlen=_PACE_JOBS)
        """Work and seconds of jobs that ran while all runners were busy."""
        self._pace = 1.0
        """How much longer these took than the history of all jobs says."""
        self._busy_seconds = 0.0
        self._changed_at = 0.0

    def claimed(self, job: Job, now: float) -> None:
        """A runner has begun a job."""
        self._count_busy_seconds(now)
        whole = job.attempt == 1 and job.checkpoint.plan is None
        work = work_left(job)
        self._runs[job.job_id] = _Run(job.client, work, whole, now, work, now, self._busy_seconds)
        if len(self._queue) or len(self._runs) > self._runners:
            self._side_by_side.append(len(self._runs))

    def resumed(self, job: Job, now: float) -> None:
        """A runner goes on with a job that it began before a restart: how long ago is not known for sure."""
        self.claimed(job, now)
        self._runs[job.job_id] = replace(self._runs[job.job_id], whole=False)

    def heard(self, job: Job, now: float) -> None:
        """The runner of a job has said how far it is."""
        if (run := self._runs.get(job.job_id)) and job.stage in STAGES:
            done = fraction_of_stage(job.stage, job.progress)
            self._runs[job.job_id] = replace(run, left=run.work.after(job.stage, done), heard_at=now)

    def stopped(self, job: Job, now: float) -> None:
        """A job runs no more."""
        self._count_busy_seconds(now)
        self._runs.pop(job.job_id, None)

    def finished(self, job: Job, now: float, timings: Mapping[str, float]) -> None:
        """A job has succeeded: its speed counts, unless other attempts did a part of the work."""
        run = self._runs.get(job.job_id)
        if run is None or not run.whole:
            return
        self._count_busy_seconds(now)
        seconds = now - run.since
        busy = self._busy_seconds - run.busy_before
        self._speeds.add(job.work, seconds, timings)
        if busy >= _FULL * self._runners * seconds:
            self._loaded.append((job.work, seconds))
        measured = sum(seconds for _, seconds in self._loaded)
        expected = self._speeds.seconds(Work.total(work for work, _ in self._loaded))
        self._pace = measured / expected if measured > 0 and expected > 0 else 1.0

    def learned(self, job: Job, longest: float) -> None:
        """A job succeeded before a restart; `longest` is what an attempt can have taken, in seconds.

        Its times are of the wall clock: where somebody set that meanwhile they tell nothing.
        """
        if job.attempt != 1 or job.started_at is None or job.finished_at is None or job.result is None:
            return
        timings, seconds = job.result.get("timings", {}), job.finished_at - job.started_at
        if (
            sum(timings.values()) <= seconds <= longest
        ):  # else an attempt that did not count did a part of the work
            self._speeds.add(job.work, seconds, timings)

    def until_result(self, job: Job, now: float) -> float | None:
        """Seconds until the result of a job; None where it has ended."""
        if job.state is JobState.QUEUED:
            return self._until_result(job.place, work_left(job), now)
        run = self._runs.get(job.job_id)
        return None if run is None else self._remaining(run, now)

    def next_start(self, now: float) -> float:
        """Seconds until the next waiting job is taken."""
        ends = (self._remaining(run, now) for run in self._runs.values())
        return min(ends, default=self._speeds.average_job_seconds)

    def next_end(self, client: str, now: float) -> float:
        """Seconds until the next result of a client."""
        ends = [self._remaining(run, now) for run in self._runs.values() if run.client == client]
        if first := self._queue.first_of(client):
            ends.append(self._until_result(*first, now))
        return min(ends, default=0.0)

    @property
    def _runners(self) -> int:
        """Jobs that run side by side while others wait."""
        return max(self._side_by_side)

    def _until_result(self, place: Place, work: Work, now: float) -> float:
        if not self._speeds.has_history:
            return self._queue.position(place) * self._speeds.average_job_seconds
        return self._until_start(place, now) + self._seconds(work)

    def _until_start(self, place: Place, now: float) -> float:
        free = [self._remaining(run, now) for run in self._runs.values()]
        free += [0.0] * (self._runners - len(free))
        if self._queue.position(place) <= _NEAR:
            heapq.heapify(free)
            for work in self._queue.before(place):
                heapq.heapreplace(free, free[0] + self._seconds(work))
            return free[0]
        ahead = self._queue.work_before(place)
        seconds = self._seconds(ahead)
        # When its turn comes, the other runners are in the midst of their jobs.
        others = (len(free) - 1) * seconds / ahead.jobs / 2
        return (sum(free) + seconds - others) / len(free)

    def _seconds(self, work: Work) -> float:
        return self._speeds.seconds(work) * self._pace

    def _remaining(self, run: _Run, now: float) -> float:
        seconds = self._seconds(run.left)
        return max(seconds - (now - run.heard_at), _OVERDUE * seconds)

    def _count_busy_seconds(self, now: float) -> None:
        self._busy_seconds += len(self._runs) * max(0.0, now - self._changed_at)
        self._changed_at = now


def work_left(job: Job) -> Work:
    """What the next attempt has to do: not what checkpoints hold."""
    checkpoint = job.checkpoint
    done = [] if checkpoint.plan is None else ["planning"]
    if checkpoint.codes is not None:
        done.append("composing")
    return job.work.without(done) if done else job.work
