"""Predicts when results are ready, from the queued and running work and the measured speeds."""

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
"""Simulate the runners job by job up to this position; beyond it, divide the sum of the work ahead."""
_RECENT_CLAIMS = 8
"""Number of recent claims from which the number of parallel jobs is estimated."""
_OVERDUE = 0.05
"""Remaining time of a job that exceeds its prediction, as a fraction of the prediction."""
_PACE_JOBS = 12
"""Number of recent jobs from which the pace is measured, so that it follows the load of the last minutes."""
_FULL = 0.9
"""Mean fraction of busy runners during a job for it to count in the pace."""


@dataclass(frozen=True)
class _Run:
    """An attempt under way."""

    client: str
    work: Work
    """The work to do when it began."""
    whole: bool
    """Whether this attempt does all of the job's work, without results of earlier attempts."""
    since: float
    left: Work
    """The work left at the last heartbeat."""
    heard_at: float
    busy_before: float
    """The sum of all runners' busy seconds when it began."""


class Forecast:
    """The running attempts, and the time that they and the queue will take."""

    def __init__(self, speeds: SpeedHistory, queue: JobQueue) -> None:
        self._speeds = speeds
        self._queue = queue
        self._runs: dict[str, _Run] = {}
        self._side_by_side: deque[int] = deque([1], maxlen=_RECENT_CLAIMS)
        self._loaded: deque[tuple[Work, float]] = deque(maxlen=_PACE_JOBS)
        """(work, seconds) of recent jobs that ran while all runners were busy."""
        self._pace = 1.0
        """Seconds of those jobs, relative to the prediction from the history of all jobs."""
        self._busy_seconds = 0.0
        self._changed_at = 0.0

    def claimed(self, job: Job, now: float) -> None:
        """An attempt begins."""
        self._count_busy_seconds(now)
        whole = job.attempt == 1 and job.checkpoint.plan is None
        work = work_left(job)
        self._runs[job.job_id] = _Run(job.client, work, whole, now, work, now, self._busy_seconds)
        if len(self._queue) or len(self._runs) > self._runners:
            self._side_by_side.append(len(self._runs))

    def resumed(self, job: Job, now: float) -> None:
        """An attempt goes on after a restart of the tracker; when it began is not known for sure."""
        self.claimed(job, now)
        self._runs[job.job_id] = replace(self._runs[job.job_id], whole=False)

    def heard(self, job: Job, now: float) -> None:
        """A heartbeat reports the job's progress."""
        if (run := self._runs.get(job.job_id)) and job.stage in STAGES:
            done = fraction_of_stage(job.stage, job.progress)
            self._runs[job.job_id] = replace(run, left=run.work.after(job.stage, done), heard_at=now)

    def stopped(self, job: Job, now: float) -> None:
        """An attempt ends."""
        self._count_busy_seconds(now)
        self._runs.pop(job.job_id, None)

    def finished(self, job: Job, now: float, timings: Mapping[str, float]) -> None:
        """A job succeeds: add its speed, unless earlier attempts did a part of the work."""
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
        """Add a job that succeeded before a restart; `longest` is the maximum seconds of an attempt.

        Its times are of the wall clock, which may have been set meanwhile, so implausible ones are ignored.
        """
        if job.attempt != 1 or job.started_at is None or job.finished_at is None or job.result is None:
            return
        timings, seconds = job.result.get("timings", {}), job.finished_at - job.started_at
        # If the stages took longer than the attempt, a released attempt did a part of the work.
        if sum(timings.values()) <= seconds <= longest:
            self._speeds.add(job.work, seconds, timings)

    def until_result(self, job: Job, now: float) -> float | None:
        """Return the seconds until a job's result; None if it has ended."""
        if job.state is JobState.QUEUED:
            return self._until_result(job.place, work_left(job), now)
        run = self._runs.get(job.job_id)
        return None if run is None else self._remaining(run, now)

    def next_start(self, now: float) -> float:
        """Return the seconds until the next queued job is claimed."""
        ends = (self._remaining(run, now) for run in self._runs.values())
        return min(ends, default=self._speeds.average_job_seconds)

    def next_end(self, client: str, now: float) -> float:
        """Return the seconds until a client's next result."""
        ends = [self._remaining(run, now) for run in self._runs.values() if run.client == client]
        if first := self._queue.first_of(client):
            ends.append(self._until_result(*first, now))
        return min(ends, default=0.0)

    @property
    def _runners(self) -> int:
        """Estimated number of runners: jobs that run in parallel while others are queued."""
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
        # When its turn comes, the other runners are halfway through their jobs on average.
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
    """Return the work of the next attempt: without the stages whose results the checkpoint holds."""
    checkpoint = job.checkpoint
    done = [] if checkpoint.plan is None else ["planning"]
    if checkpoint.codes is not None:
        done.append("composing")
    return job.work.without(done) if done else job.work
