"""Measures how fast jobs run and what is left of those that run, and predicts from that when they end."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deployments.common.messages import STAGES
from serve_app.jobs.forecast.eta import SpeedHistory
from serve_app.jobs.forecast.outlook import Figures, Outlook, RunLeft
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.progress import fraction_of_stage
from serve_app.jobs.queue.job_queue import JobQueue
from serve_app.request.work import Work

_RECENT_CLAIMS = 8
"""Number of recent claims from which the number of parallel jobs is estimated."""
_PACE_JOBS = 12
"""Number of recent jobs from which the pace is measured, so that it follows the load of the last minutes."""
_FULL = 0.9
"""Mean fraction of busy runners during a job for it to count in the pace."""


@dataclass(frozen=True)
class _Run:
    """How an attempt under way began."""

    work: Work
    """The work to do when it began."""
    whole: bool
    """Whether this attempt does all of the job's work, without results of earlier attempts."""
    since: float
    busy_before: float
    """The sum of all runners' busy seconds when it began."""


class Forecast:
    """The running attempts, and the time that they and the queue will take."""

    def __init__(self, speeds: SpeedHistory, queue: JobQueue) -> None:
        self._speeds = speeds
        self._queue = queue
        self._runs: dict[str, _Run] = {}
        self._left: dict[str, RunLeft] = {}
        """The remaining work of each attempt in `_runs`, by job id, in the same order."""
        self._side_by_side: deque[int] = deque([1], maxlen=_RECENT_CLAIMS)
        self._loaded: deque[tuple[Work, float]] = deque(maxlen=_PACE_JOBS)
        """(work, seconds) of recent jobs that ran while all runners were busy."""
        self._pace = 1.0
        """Seconds of those jobs, relative to the prediction from the history of all jobs."""
        self._busy_seconds = 0.0
        self._changed_at = 0.0
        self._newest_outlook: Outlook | None = None
        self._figures: Figures | None = None
        """All of the above as predictions need it; None since a change."""

    def claimed(self, job: Job, now: float) -> None:
        """An attempt begins."""
        self._count_busy_seconds(now)
        whole = job.attempt == 1 and job.checkpoint.plan is None
        work = work_left(job)
        self._runs[job.job_id] = _Run(work, whole, now, self._busy_seconds)
        self._left[job.job_id] = RunLeft(job.client, work, now)
        if len(self._queue) or len(self._runs) > self._runners:
            self._side_by_side.append(len(self._runs))
        self._figures = None

    def resumed(self, job: Job, now: float) -> None:
        """An attempt goes on after a restart of the tracker; when it began is not known for sure."""
        self.claimed(job, now)
        self._runs[job.job_id] = replace(self._runs[job.job_id], whole=False)

    def heard(self, job: Job, now: float) -> None:
        """A heartbeat reports the job's progress."""
        if (run := self._runs.get(job.job_id)) and job.stage in STAGES:
            done = fraction_of_stage(job.stage, job.progress)
            self._left[job.job_id] = RunLeft(job.client, run.work.after(job.stage, done), now)
            self._figures = None

    def stopped(self, job: Job, now: float) -> None:
        """An attempt ends."""
        self._count_busy_seconds(now)
        self._runs.pop(job.job_id, None)
        self._left.pop(job.job_id, None)
        self._figures = None

    def finished(self, job: Job, now: float, timings: Mapping[str, float]) -> None:
        """A job succeeds: add its speed, unless earlier attempts did a part of the work."""
        run = self._runs.get(job.job_id)
        if run is None or not run.whole:
            return
        self._count_busy_seconds(now)
        seconds = now - run.since
        busy = self._busy_seconds - run.busy_before
        self._add(job.work, seconds, timings)
        if busy >= _FULL * self._runners * seconds:
            self._loaded.append((job.work, seconds))
        self._pace = self._measured_pace()
        self._figures = None

    def learned(self, job: Job, longest: float) -> None:
        """Add a job that succeeded before a restart; `longest` is the maximum seconds of an attempt.

        Its times are of the wall clock, which may have been set meanwhile, so implausible ones are ignored.
        """
        if job.attempt != 1 or job.started_at is None or job.finished_at is None or job.result is None:
            return
        timings, seconds = job.result.get("timings", {}), job.finished_at - job.started_at
        # If the stages took longer than the attempt, a released attempt did a part of the work.
        if sum(timings.values()) <= seconds <= longest:
            self._add(job.work, seconds, timings)

    def figures(self) -> Figures:
        """Return what predictions need besides the queue. It fits costs once after each added job."""
        if self._figures is None:
            self._figures = Figures(
                has_history=self._speeds.has_history,
                average_job_seconds=self._speeds.average_job_seconds,
                overhead_seconds=self._speeds.overhead_seconds,
                stage_costs=self._speeds.stage_costs(),
                model_costs=self._speeds.model_costs(),
                pace=self._pace,
                runners=self._runners,
                runs=dict(self._left),
            )
        return self._figures

    def until_result(self, job: Job, now: float) -> float | None:
        """Return the seconds until a job's result; None if it has ended."""
        if job.state is JobState.QUEUED:
            return self._outlook.until_result_of_queued(job.place, work_left(job), now)
        if job.job_id not in self._runs:  # Polls of ended jobs need no figures.
            return None
        return self._outlook.until_result_of_running(job.job_id, now)

    def next_start(self, now: float) -> float:
        """Return the seconds until the next queued job is claimed."""
        return self._outlook.next_start(now)

    def next_end(self, client: str, now: float) -> float:
        """Return the seconds until a client's next result."""
        return self._outlook.next_end(client, now)

    @property
    def _outlook(self) -> Outlook:
        figures = self.figures()
        if self._newest_outlook is None or self._newest_outlook.figures is not figures:
            self._newest_outlook = Outlook(figures, self._queue)
        return self._newest_outlook

    @property
    def _runners(self) -> int:
        """Estimated number of runners: jobs that run in parallel while others are queued."""
        return max(self._side_by_side)

    def _add(self, work: Work, seconds: float, timings: Mapping[str, float]) -> None:
        self._speeds.add(work, seconds, timings)
        self._figures = None

    def _measured_pace(self) -> float:
        measured = sum(seconds for _, seconds in self._loaded)
        expected = self.figures().seconds(Work.total(work for work, _ in self._loaded))
        return measured / expected if measured > 0 and expected > 0 else 1.0

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
