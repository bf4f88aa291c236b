"""The seconds that recent jobs took in each stage, and the costs that are fitted to them."""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt

from deployments.common.messages import STAGES, Stage
from serve_app.jobs.progress import STAGE_SHARES
from serve_app.request.work import StageWork, Work, stage_of

HISTORY_JOBS = 100
"""Number of recent jobs that are used; older ones ran under another load."""
_FIRST_FIT = 4
"""Minimum number of samples before costs per call and per item are fitted; fewer say too little."""

Cost = tuple[float, float, float]
"""Seconds of a stage per call, per unit and per unit of the longest item."""


_Seen = deque[tuple[StageWork, float]]
"""(work, seconds) of recent jobs."""


class SpeedHistory:
    """Durations of recent jobs, as a whole and by stage, and what a stage costs by them.

    A stage that several checkpoints can do has a history for each of them beside the common one.
    """

    def __init__(self, initial_job_seconds: float) -> None:
        self._initial_job_seconds = initial_job_seconds
        self._job_seconds: deque[float] = deque(maxlen=HISTORY_JOBS)
        self._overhead: deque[float] = deque(maxlen=HISTORY_JOBS)
        self._stages: dict[Stage, _Seen] = {stage: _no_history() for stage in STAGES}
        self._models: defaultdict[str, _Seen] = defaultdict(_no_history)
        """By the names of `Work.models`."""
        self._costs: dict[str, Cost] = {}
        """The fitted costs by stage and by the names of `Work.models`; a new job removes what it changes."""

    def add(self, work: Work, job_seconds: float, stage_seconds: Mapping[str, float]) -> None:
        """Add a job that succeeded in one attempt."""
        self._job_seconds.append(job_seconds)
        counted = 0.0
        for stage, done in work.by_stage():
            self._costs.pop(stage, None)  # A stage without a history costs a share of the others.
            if done[0] and stage in stage_seconds:
                self._stages[stage].append((done, stage_seconds[stage]))
                counted += stage_seconds[stage]
        for name, done in work.models.items():
            if done[0] and stage_of(name) in stage_seconds:
                self._models[name].append((done, stage_seconds[stage_of(name)]))
                self._costs.pop(name, None)
        self._overhead.append(max(0.0, job_seconds - counted))

    @property
    def has_history(self) -> bool:
        """Whether any job has been added."""
        return bool(self._job_seconds)

    @property
    def average_job_seconds(self) -> float:
        """Mean of the recent jobs; `initial_job_seconds` while there are none."""
        return _mean(self._job_seconds) if self._job_seconds else self._initial_job_seconds

    @property
    def overhead_seconds(self) -> float:
        """Mean seconds of the recent jobs outside their stages; 0 while there are none."""
        return _mean(self._overhead) if self._overhead else 0.0

    def average_stage_seconds(self) -> dict[str, float]:
        """Return the mean seconds by stage, over the recent jobs that had this stage."""
        return {
            stage: _mean([seconds for _, seconds in seen]) for stage, seen in self._stages.items() if seen
        }

    def stage_costs(self) -> dict[Stage, Cost]:
        """Return the common cost of every stage, whatever checkpoint does it."""
        return {stage: self._stage_cost(stage) for stage in STAGES}

    def model_costs(self) -> dict[str, Cost]:
        """Return the costs of checkpoints, by the names of `Work.models`.

        A checkpoint that alone has done a stage is left out, because its cost is the common one.
        """
        checkpoints = Counter(map(stage_of, self._models))
        return {name: self._model_cost(name) for name in self._models if checkpoints[stage_of(name)] > 1}

    def _stage_cost(self, stage: Stage) -> Cost:
        if stage not in self._costs:
            self._costs[stage] = _cost(seen) if (seen := self._stages[stage]) else self._usual_cost(stage)
        return self._costs[stage]

    def _model_cost(self, name: str) -> Cost:
        if name not in self._costs:
            self._costs[name] = _cost(self._models[name])
        return self._costs[name]

    def _usual_cost(self, stage: Stage) -> Cost:
        """Return the usual share of a job's time, relative to the stages that jobs had so far."""
        known = self.average_stage_seconds()
        share = sum(STAGE_SHARES[other] for other in STAGES if other in known)
        return STAGE_SHARES[stage] * sum(known.values()) / share if share else 0.0, 0.0, 0.0


def _no_history() -> _Seen:
    return deque(maxlen=HISTORY_JOBS)


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


def _cost(seen: Collection[tuple[Cost, float]]) -> Cost:
    """Return the non-negative cost with the least relative error (weighted non-negative least squares).

    With three unknowns it is cheap to try all choices of those that are 0.
    """
    features = np.array([row for row, _ in seen])
    seconds = np.array([value for _, value in seen])
    weights = 1.0 / (seconds + seconds.mean() + 1e-9)
    if not features[:, 1].any():  # a stage without units
        return float(np.average(seconds, weights=weights)), 0.0, 0.0
    if len(seen) < _FIRST_FIT:
        return 0.0, float(seconds.sum() / features[:, 1].sum()), 0.0
    fits = (
        _fit(features, seconds, weights, kept) for size in (1, 2, 3) for kept in combinations(range(3), size)
    )
    _, best = min((fit for fit in fits if fit is not None), key=lambda fit: fit[0])
    return best


def _fit(
    features: npt.NDArray[np.float64],
    seconds: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    kept: tuple[int, ...],
) -> tuple[float, Cost] | None:
    """Return (squared error, cost) of a fit with the columns `kept`; None if a coefficient is negative."""
    chosen = features[:, kept] * weights[:, None]
    found, *_ = np.linalg.lstsq(chosen, seconds * weights, rcond=1e-6)
    if (found < 0).any():
        return None
    cost = [0.0, 0.0, 0.0]
    for column, value in zip(kept, found.tolist(), strict=True):
        cost[column] = value
    return float(np.square(chosen @ found - seconds * weights).sum()), (cost[0], cost[1], cost[2])
