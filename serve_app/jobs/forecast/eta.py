"""How long jobs take, from how long recent ones took in each stage."""

from collections import deque
from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt

from deployments.common.messages import STAGES, Stage
from serve_app.jobs.progress import STAGE_SHARES
from serve_app.request.work import Work

HISTORY_JOBS = 100
"""Jobs that count; older ones tell of another load."""
_FIRST_FIT = 4
"""Jobs from which on it is asked what a stage takes but for its units; fewer tell too little."""

Cost = tuple[float, float, float]
"""Seconds of a stage per call, per unit and per unit of the longest item."""


class SpeedHistory:
    """Seconds of recent jobs, in all and by stage, and what they predict."""

    def __init__(self, initial_job_seconds: float) -> None:
        self._initial_job_seconds = initial_job_seconds
        self._job_seconds: deque[float] = deque(maxlen=HISTORY_JOBS)
        self._overhead: deque[float] = deque(maxlen=HISTORY_JOBS)
        self._stages: dict[str, deque[tuple[Cost, float]]] = {
            stage: deque(maxlen=HISTORY_JOBS) for stage in STAGES
        }
        self._costs: list[Cost] | None = None

    def add(self, work: Work, job_seconds: float, stage_seconds: Mapping[str, float]) -> None:
        """Note a job that succeeded in one attempt."""
        self._job_seconds.append(job_seconds)
        rows = zip(STAGES, work.calls, work.units, work.item_units, strict=True)
        seen = [(stage, row) for stage, *row in rows if row[0] and stage in stage_seconds]
        for stage, (calls, units, item_units) in seen:
            self._stages[stage].append(((calls, units, item_units), stage_seconds[stage]))
        counted = sum(stage_seconds[stage] for stage, _ in seen)
        self._overhead.append(max(0.0, job_seconds - counted))
        self._costs = None

    @property
    def has_history(self) -> bool:
        """Whether any job has finished."""
        return bool(self._job_seconds)

    @property
    def average_job_seconds(self) -> float:
        """Mean over the window; the initial guess while it is empty."""
        return _mean(self._job_seconds) if self._job_seconds else self._initial_job_seconds

    def average_stage_seconds(self) -> dict[str, float]:
        """Mean by stage over the jobs of the window that had it."""
        return {
            stage: _mean([seconds for _, seconds in seen]) for stage, seen in self._stages.items() if seen
        }

    def seconds(self, work: Work) -> float:
        """What this work will take, one job at a time."""
        if not self._job_seconds:
            return work.jobs * self._initial_job_seconds
        if self._costs is None:
            self._costs = [self._cost(stage) for stage in STAGES]
        total = work.jobs * _mean(self._overhead)
        rows = zip(self._costs, work.calls, work.units, work.item_units, strict=True)
        for (per_call, per_unit, per_item_unit), calls, units, item_units in rows:
            total += per_call * calls + per_unit * units + per_item_unit * item_units
        return max(0.0, total)

    def _cost(self, stage: Stage) -> Cost:
        if seen := self._stages[stage]:
            return _cost(seen)
        # Nobody has had this stage yet: its usual share of a job's time, next to the others'.
        known = self.average_stage_seconds()
        share = sum(STAGE_SHARES[other] for other in STAGES if other in known)
        return STAGE_SHARES[stage] * sum(known.values()) / share if share else 0.0, 0.0, 0.0


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


def _cost(seen: Collection[tuple[Cost, float]]) -> Cost:
    """The cost, nowhere below 0, with the least relative error (weighted non-negative least squares).

    Three unknowns are few enough to try which of them are 0.
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
    """Squared error and cost with some columns only; None where one would have to be negative."""
    chosen = features[:, kept] * weights[:, None]
    found, *_ = np.linalg.lstsq(chosen, seconds * weights, rcond=1e-6)
    if (found < 0).any():
        return None
    cost = [0.0, 0.0, 0.0]
    for column, value in zip(kept, found.tolist(), strict=True):
        cost[column] = value
    return float(np.square(chosen @ found - seconds * weights).sum()), (cost[0], cost[1], cost[2])
