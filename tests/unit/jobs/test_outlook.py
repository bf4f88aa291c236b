"""A tracker's figures predict the same times in another process, and no heartbeat changes a cost."""

import pickle
from collections import defaultdict
from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deployments.common.messages import STAGES, Stage
from serve_app.jobs.forecast.eta import Cost, SpeedHistory
from serve_app.jobs.forecast.forecast import Forecast, work_left
from serve_app.jobs.forecast.outlook import Figures, Outlook
from serve_app.jobs.model import Checkpoint, Job, JobState
from serve_app.jobs.queue.job_queue import JobQueue, QueuedJob
from serve_app.request.work import Work, stage_of
from tests.job_tracking import Clock, Tracking

CLIENTS = ("one", "two", "three")
MODELS = ("planning/lm", "composing/lm", "composing/small", "denoising/turbo", "denoising/base")
UNKNOWN = "denoising/unknown"
"""A checkpoint that no job of a test has."""
TIMINGS = st.dictionaries(st.sampled_from(STAGES), st.floats(0, 60))
"""Seconds of some stages of a job."""
MOST_JOBS = 200
"""So many jobs are in one block of the queue, whose sums do not depend on the order in which they came."""


@st.composite
def works(draw: st.DrawFn) -> Work:
    """Return the work of a job that has some of the stages, and some of them on named checkpoints."""
    calls = tuple(float(draw(st.booleans())) for _ in STAGES)
    seconds = draw(st.floats(1, 100))
    units = tuple(per_second * seconds * has for per_second, has in zip((0, 5, 8, 1, 1), calls, strict=True))
    items = tuple(unit / draw(st.sampled_from((1, 2))) for unit in units)
    parts = {stage: (calls[at], units[at], items[at]) for at, stage in enumerate(STAGES)}
    names = draw(st.sets(st.sampled_from(MODELS)))
    return Work(1, calls, units, items, {name: parts[stage_of(name)] for name in sorted(names)})


def mirrored(figures: Figures, jobs: list[Job]) -> Outlook:
    """Return the outlook of a process that knows the figures and the queued jobs of a tracker."""
    queue = JobQueue()
    for job in jobs:
        queue.add(job.place, QueuedJob(job.job_id, job.client, work_left(job)))
    return Outlook(pickle.loads(pickle.dumps(figures)), queue)


def costs(figures: Figures) -> list[Cost]:
    return [*figures.stage_costs.values(), *figures.model_costs.values()]


class OutlookMachine(RuleBasedStateMachine):
    """Two trackers of the same jobs: one is asked after each action, the other only at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        limits = {"queue_limit": 10_000, "client_jobs": 10_000, "max_attempts": 1000}
        self.asked, self.silent = (Tracking(self.clock, **limits) for _ in range(2))
        self.jobs: list[str] = []
        self.tokens: dict[str, str] = {}
        """The leases of the running jobs, by job id."""
        self.numbers = count()

    @property
    def trackings(self) -> tuple[Tracking, Tracking]:
        return self.asked, self.silent

    @property
    def forecast(self) -> Forecast:
        return self.asked.tracker._forecast

    def lease(self, choice: int) -> tuple[str, str]:
        """Return the id of a running job and its token."""
        return list(self.tokens.items())[choice % len(self.tokens)]

    @precondition(lambda self: len(self.jobs) < MOST_JOBS)
    @rule(client=st.sampled_from(CLIENTS), work=works(), jobs=st.sampled_from((1, 1, 1, 2, 40)))
    def submit(self, client: str, work: Work, jobs: int) -> None:
        for _ in range(jobs):
            job_id = f"job {len(self.jobs)}"
            self.jobs.append(job_id)
            for tracking in self.trackings:
                tracking.submit(client, job_id=job_id, work=work)

    @rule()
    def claim(self) -> None:
        token = f"token {next(self.numbers)}"
        claims = [tracking.tracker.claim(token) for tracking in self.trackings]
        if claims[0] is not None:
            self.tokens[claims[0].job.job_id] = token

    @precondition(lambda self: self.tokens)
    @rule(choice=st.integers(0, 5), stage=st.sampled_from((*STAGES, "waiting")), progress=st.floats(0, 1))
    def heartbeat(self, choice: int, stage: str, progress: float) -> None:
        job_id, token = self.lease(choice)
        before = self.forecast.figures()
        for tracking in self.trackings:
            assert tracking.tracker.heartbeat(job_id, token, stage, progress)
        after = self.forecast.figures()
        assert replace(after, runs=before.runs) == before
        # A new fit would make a new tuple.
        assert all(new is old for new, old in zip(costs(after), costs(before), strict=True))
        if stage in STAGES:
            assert after.runs[job_id].heard_at == self.clock.now

    @precondition(lambda self: self.tokens)
    @rule(choice=st.integers(0, 5), timings=TIMINGS)
    def finish(self, choice: int, timings: dict[Stage, float]) -> None:
        job_id, token = self.lease(choice)
        del self.tokens[job_id]
        for tracking in self.trackings:
            assert tracking.tracker.finish(job_id, token, {"timings": timings}, ("memory://song",), 1000)

    @precondition(lambda self: self.tokens)
    @rule(choice=st.integers(0, 5), composed=st.booleans())
    def release(self, choice: int, composed: bool) -> None:
        job_id, token = self.lease(choice)
        del self.tokens[job_id]
        for tracking in self.trackings:
            if composed:
                assert tracking.tracker.checkpoint(job_id, token, Checkpoint(codes=((1,) * 50,)))
            assert tracking.tracker.release(job_id, token)

    @rule(seconds=st.floats(0.01, 60))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def restart(self) -> None:
        for tracking in self.trackings:
            tracking.restart()

    @invariant()
    def a_mirror_predicts_the_same(self) -> None:
        now, tracker = self.clock.now, self.asked.tracker
        by_state: defaultdict[JobState, list[Job]] = defaultdict(list)
        for job in filter(None, map(self.asked.record, self.jobs)):
            by_state[job.state].append(job)
        queued = sorted(by_state[JobState.QUEUED], key=lambda job: job.place)
        outlook = mirrored(self.forecast.figures(), by_state[JobState.QUEUED])
        for job in [*queued[:3], *queued[30:34], *queued[-1:]]:
            expected = outlook.until_result_of_queued(job.place, work_left(job), now)
            assert tracker.view_of(job).eta_seconds == expected
        assert set(outlook.figures.runs) == set(self.tokens)
        for job in by_state[JobState.RUNNING]:
            assert tracker.view_of(job).eta_seconds == outlook.until_result_of_running(job.job_id, now)
        for job in by_state[JobState.SUCCEEDED][-3:]:
            assert tracker.view_of(job).eta_seconds is None
            assert outlook.until_result_of_running(job.job_id, now) is None
        assert self.forecast.next_start(now) == outlook.next_start(now)
        for client in CLIENTS:
            assert self.forecast.next_end(client, now) == outlook.next_end(client, now)

    @invariant()
    def an_unknown_checkpoint_has_the_common_speed(self) -> None:
        figures = self.forecast.figures()
        work = Work(1, (1.0,) * 5, (0.0, 50.0, 80.0, 10.0, 10.0), (0.0, 50.0, 80.0, 10.0, 10.0))
        assert figures.seconds(replace(work, models={UNKNOWN: (1.0, 80.0, 80.0)})) == figures.seconds(work)

    def teardown(self) -> None:
        assert self.silent.tracker._forecast.figures() == self.forecast.figures()


@settings(max_examples=50, deadline=None)
@given(ended=st.lists(st.tuples(works(), TIMINGS), max_size=12))
def test_costs_are_those_of_all_jobs_whenever_one_asks(ended: list[tuple[Work, dict[Stage, float]]]) -> None:
    asked, silent = SpeedHistory(5.0), SpeedHistory(5.0)
    for work, timings in ended:
        for history in (asked, silent):
            history.add(work, 60.0, timings)
        asked.stage_costs()
        asked.model_costs()
    assert asked.stage_costs() == silent.stage_costs()
    assert asked.model_costs() == silent.model_costs()


TestOutlook = OutlookMachine.TestCase
TestOutlook.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
