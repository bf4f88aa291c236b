"""A server in simulated time: runners that share its engines complete a queue of mixed jobs."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from deployments.common.messages import STAGES
from serve_app.jobs.errors import LimitError
from serve_app.jobs.model import Claim, JobState
from serve_app.jobs.progress import STAGE_SHARES
from serve_app.request.work import Work
from tests.job_tracking import Tracking

POLL_SECONDS = 3.0
NOISE = 0.1
"""Standard deviation of the duration of a stage, relative to its expected duration."""


@dataclass(frozen=True)
class Poll:
    """One answer to one waiting client."""

    job_id: str
    at: float
    eta: float


@dataclass
class _Running:
    claim: Claim
    left: list[float]
    """Seconds that each remaining stage would take alone."""
    timings: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.whole = tuple(self.left)

    @property
    def stage(self) -> str:
        return STAGES[len(STAGES) - len(self.left)]


def mixed_work(rng: random.Random) -> Work:
    """Return a job of one or two songs of 5 to 60 s.

    Half have audio codes, and some have all metadata given.
    """
    seconds, items = rng.uniform(5, 60), rng.choice((1, 2))
    thinking, asks_lm = rng.random() < 0.5, rng.random() < 0.7
    item = (0.0, 5 * seconds * thinking, 8 * seconds, seconds, seconds)
    calls = (float(asks_lm), float(thinking), 1.0, 1.0, 1.0)
    return Work(1, calls, tuple(items * units for units in item), item)


def seconds_alone(work: Work) -> list[float]:
    """Return the seconds of the stages on an idle machine. The LM runs two songs nearly as fast as one."""
    _, composing, denoising, decoding, encoding = work.units
    longest_run = work.item_units[STAGES.index("composing")]
    return [
        0.8 * work.calls[0],
        0.3 * work.calls[1] + 0.012 * longest_run + 0.002 * composing,
        0.1 + 0.0025 * denoising,
        0.02 * decoding,
        0.003 * encoding,
    ]


Sharing = Callable[[Sequence[str]], Sequence[float]]
"""Maps the stages in which jobs are to the speed of each job, relative to its speed alone."""


def one_processor(stages: Sequence[str]) -> Sequence[float]:
    """All jobs share one machine, which does no more for several than for one."""
    return [1 / len(stages) for _ in stages]


def batching_engines(stages: Sequence[str]) -> Sequence[float]:
    """Several jobs together get more done than one after the other."""
    return [(1 + 0.5 * (len(stages) - 1)) / len(stages) for _ in stages]


def engine_for_each_stage(stages: Sequence[str]) -> Sequence[float]:
    """Only jobs in the same stage wait for each other, and the LM runs its jobs side by side."""
    jobs = Counter(stages)
    return [1.0 if stage in {"planning", "composing"} else 1 / jobs[stage] for stage in stages]


class Simulation:
    """`runners` jobs side by side on engines that they share."""

    def __init__(
        self, seed: int, runners: int, sharing: Sharing = one_processor, tracking: Tracking | None = None
    ) -> None:
        self.rng = random.Random(seed)
        self.tracking = tracking or Tracking(queue_limit=1000, client_jobs=1000)
        self.polls: list[Poll] = []
        self.finished_at: dict[str, float] = {}
        self._refusals: list[tuple[float, float]] = []
        self._runners = runners
        self._sharing = sharing
        self._running: list[_Running] = []
        self._waiting: list[str] = []

    def closed(self, outstanding: int, jobs: int) -> None:
        """Follow each finished job by another, so that `outstanding` jobs wait or run."""
        submitted = 0
        for _ in self._events(iter(())):
            while submitted < jobs and len(self._waiting) + len(self._running) < outstanding:
                self._claim()
                self.submit()
                submitted += 1

    def poisson(self, jobs: int, mean_gap: float) -> None:
        """Submit jobs at random times."""
        times, now = [], self.tracking.clock.now
        for _ in range(jobs):
            now += self.rng.expovariate(1 / mean_gap)
            times.append(now)
        for _ in self._events(iter(times)):
            pass

    def submit(self, client: str = "") -> str:
        job_id = self.tracking.submit(client, work=mixed_work(self.rng))
        self._waiting.append(job_id)
        return job_id

    def _events(self, arrivals: Iterator[float]) -> Iterator[None]:
        """Run until nothing is left to do, and yield after each event."""
        clock = self.tracking.clock
        next_poll, next_arrival = clock.now + POLL_SECONDS, next(arrivals, float("inf"))
        yield
        while self._waiting or self._running or next_arrival < float("inf"):
            self._claim()
            speeds = self._sharing([run.stage for run in self._running])
            ends = [
                (clock.now + run.left[0] / speed, index)
                for index, (run, speed) in enumerate(zip(self._running, speeds, strict=True))
            ]
            stage_end, index = min(ends, default=(float("inf"), 0))
            first = self._running[index] if ends else None
            now = min(stage_end, next_poll, next_arrival)
            for run, speed in zip(self._running, speeds, strict=True):
                run.left[0] = max(0.0, run.left[0] - (now - clock.now) * speed)
                run.timings[run.stage] = run.timings.get(run.stage, 0.0) + now - clock.now
            clock.now = now
            if first and now == stage_end:
                first.left.pop(0)
                if not first.left:
                    self._finish(first)
                else:
                    self._heartbeat(first)
            elif now == next_arrival:
                self.submit()
                next_arrival = next(arrivals, float("inf"))
            else:
                self._poll()
                next_poll = now + POLL_SECONDS
            yield

    def _claim(self) -> None:
        while self._waiting and len(self._running) < self._runners:
            claim = self.tracking.tracker.claim(f"token {self.rng.random()}")
            assert claim is not None
            self._waiting.remove(claim.job.job_id)
            noisy = [seconds * self.rng.lognormvariate(0, NOISE) for seconds in seconds_alone(claim.job.work)]
            self._running.append(_Running(claim, noisy))

    def _finish(self, run: _Running) -> None:
        self._running.remove(run)
        job_id = run.claim.job.job_id
        skipped = {stage for stage, calls in zip(STAGES, run.claim.job.work.calls, strict=True) if not calls}
        timings = {stage: seconds for stage, seconds in run.timings.items() if stage not in skipped}
        assert self.tracking.tracker.finish(job_id, run.claim.token, {"timings": timings}, (), 0)
        self.finished_at[job_id] = self.tracking.clock.now

    def _heartbeat(self, run: _Running) -> None:
        share = STAGE_SHARES[run.stage]
        before = sum(list(STAGE_SHARES.values())[: STAGES.index(run.stage)])
        whole = run.whole[-len(run.left)]
        done = 1 - run.left[0] / whole if whole else 1.0
        claim = run.claim
        progress = before + share * done
        assert self.tracking.tracker.heartbeat(claim.job.job_id, claim.token, run.stage, progress)

    def _poll(self) -> None:
        for run in self._running:
            self._heartbeat(run)
        for job_id in self._waiting:
            view = self.tracking.tracker.view(job_id)
            assert view is not None
            assert view.state is JobState.QUEUED
            assert view.eta_seconds is not None
            at = self.tracking.clock.now
            self.polls.append(Poll(job_id, at, view.eta_seconds))
        if len(self._waiting) >= self.tracking.settings.queue_limit:
            with pytest.raises(LimitError) as refused:
                self.submit()
            self._refusals.append((self.tracking.clock.now, refused.value.retry_after))

    def honest_share(self) -> float:
        """Return the share of polls after the first result whose `eta_seconds` is off by at most 30 %."""
        first = min(self.finished_at.values())
        honest = [
            _is_honest(poll.eta, self.finished_at[poll.job_id] - poll.at)
            for poll in self.polls
            if poll.at >= first
        ]
        return sum(honest) / len(honest)

    def honest_refusals(self) -> list[bool]:
        """Return for each refusal whether the next job ended at `retry_after`, within 30 % or 0.5 s."""
        ends = sorted(self.finished_at.values())
        return [
            _is_honest(told, next(end for end in ends if end >= at) - at, 0.5)
            for at, told in self._refusals
            if at >= ends[0]
        ]


def _is_honest(told: float, truth: float, slack: float = 0.0) -> bool:
    return abs(told - truth) <= max(slack, 0.3 * truth)
