"""The work of jobs by stage, on which time estimates, scaling and fairness between clients are based."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add, mul, sub
from typing import Any

from deployments.common.messages import STAGES, Stage

_NOTHING = (0.0,) * len(STAGES)

StageWork = tuple[float, float, float]
"""Calls, units and item units of one stage."""


@dataclass(frozen=True)
class Work:
    """The work of one job or the sum of several. Tuples have one value per stage, in the order of STAGES."""

    jobs: int = 0
    calls: tuple[float, ...] = _NOTHING
    """Number of jobs that run each stage."""
    units: tuple[float, ...] = _NOTHING
    """Units per stage: planning 0, composing codes, denoising DiT rows × s, decoding s, encoding s (of
    audio)."""
    item_units: tuple[float, ...] = _NOTHING
    """Units of each job's longest item, because items that run together take little longer than one."""
    models: Mapping[str, StageWork] = field(default_factory=dict)
    """The part of the above that each checkpoint does, by `stage_of_model` of the stage and its name.

    Only stages that several checkpoints of the server can do have such parts; a stage without them is done by
    the server's default.
    """

    @classmethod
    def total(cls, works: Iterable["Work"]) -> "Work":
        """The sum of several."""
        each = list(works)
        if not each:
            return cls()
        return cls(
            sum(work.jobs for work in each),
            _sums([work.calls for work in each]),
            _sums([work.units for work in each]),
            _sums([work.item_units for work in each]),
            _joined([work.models for work in each]),
        )

    @property
    def audio_seconds(self) -> float:
        """Seconds of all songs."""
        return self.units[STAGES.index("encoding")]

    def by_stage(self) -> Iterator[tuple[Stage, StageWork]]:
        """Each stage with its part."""
        return zip(STAGES, zip(self.calls, self.units, self.item_units, strict=True), strict=True)

    def __add__(self, other: "Work") -> "Work":
        return self._with(add, other)

    def __sub__(self, other: "Work") -> "Work":
        return self._with(sub, other)

    def lasting(self, audio_seconds: float) -> "Work":
        """The same work scaled to another total length of the songs."""
        if not self.audio_seconds:
            return self
        factor = audio_seconds / self.audio_seconds
        models = {
            name: (calls, units * factor, item_units * factor)
            for name, (calls, units, item_units) in self.models.items()
        }
        units, item_units = _times(self.units, factor), _times(self.item_units, factor)
        return Work(self.jobs, self.calls, units, item_units, models)

    def without(self, stages: Collection[str]) -> "Work":
        """The work that is left when `stages` are done."""
        return self._kept([float(stage not in stages) for stage in STAGES])

    def after(self, stage: str, fraction: float) -> "Work":
        """The work that is left when all stages before `stage` and a fraction of it are done."""
        index = STAGES.index(stage)
        return self._kept([0.0] * index + [1.0 - fraction] + [1.0] * (len(STAGES) - index - 1))

    def _kept(self, shares: Sequence[float]) -> "Work":
        models = {}
        for name, (calls, units, item_units) in self.models.items():
            share = shares[STAGES.index(stage_of(name))]
            models[name] = (calls * share, units * share, item_units * share)
        return Work(
            self.jobs,
            tuple(map(mul, self.calls, shares)),
            tuple(map(mul, self.units, shares)),
            tuple(map(mul, self.item_units, shares)),
            models,
        )

    def _with(self, operation: Callable[[Any, Any], Any], other: "Work") -> "Work":
        return Work(
            operation(self.jobs, other.jobs),
            tuple(map(operation, self.calls, other.calls)),
            tuple(map(operation, self.units, other.units)),
            tuple(map(operation, self.item_units, other.item_units)),
            _joined([self.models, other.models], operation) if other.models else self.models,
        )


class RunningTotals:
    """The sums of the first none, one, two and so on of several works.

    The values are added column by column, and a `Work` is made of a sum when it is asked for: a long queue
    has many sums, of which few are asked for before it changes.
    """

    def __init__(self, works: Iterable[Work]) -> None:
        each = list(works)
        values = [(work.jobs, *work.calls, *work.units, *work.item_units) for work in each]
        sums = (accumulate(column, initial=0) for column in zip(*values, strict=True))
        self._sums = list(zip(*sums, strict=True))
        self._models: list[Mapping[str, StageWork]] = [{}] * (len(each) + 1)
        if any(work.models for work in each):
            self._models[1:] = accumulate((work.models for work in each), _both)

    def __getitem__(self, count: int) -> Work:
        """Return the sum of the first `count`. Raises IndexError if there are fewer."""
        if count == 0:
            return Work()
        jobs, *values = self._sums[count]
        size = len(STAGES)
        calls, units, item_units = (tuple(values[first : first + size]) for first in range(0, 3 * size, size))
        return Work(int(jobs), calls, units, item_units, self._models[count])


def stage_of_model(stage: str, checkpoint: str) -> str:
    """The name under which `Work.models` has a checkpoint's part of a stage."""
    return f"{stage}/{checkpoint}"


def stage_of(name: str) -> Stage:
    """The stage in a name of `Work.models`."""
    return STAGES[STAGES.index(name.partition("/")[0])]


def checkpoint_of(name: str) -> str:
    """The checkpoint in a name of `Work.models`."""
    return name.partition("/")[2]


def _joined(
    each: Sequence[Mapping[str, StageWork]], operation: Callable[[float, float], float] = add
) -> dict[str, StageWork]:
    joined = dict(each[0])
    for models in each[1:]:
        for name, (calls, units, item_units) in models.items():
            before = joined.get(name, (0.0, 0.0, 0.0))
            joined[name] = (
                operation(before[0], calls),
                operation(before[1], units),
                operation(before[2], item_units),
            )
    return joined


def _both(models: Mapping[str, StageWork], more: Mapping[str, StageWork]) -> Mapping[str, StageWork]:
    return _joined([models, more])


def _sums(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


def _times(row: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in row)
