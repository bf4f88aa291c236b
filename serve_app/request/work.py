"""The work of jobs by stage, on which time estimates and fairness between clients are based."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import add, mul, sub
from typing import Any

from deployments.common.messages import STAGES

_NOTHING = (0.0,) * len(STAGES)


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
        )

    @property
    def audio_seconds(self) -> float:
        """Seconds of all songs."""
        return self.units[STAGES.index("encoding")]

    def __add__(self, other: "Work") -> "Work":
        return self._with(add, other)

    def __sub__(self, other: "Work") -> "Work":
        return self._with(sub, other)

    def lasting(self, audio_seconds: float) -> "Work":
        """The same work scaled to another total length of the songs."""
        if not self.audio_seconds:
            return self
        factor = audio_seconds / self.audio_seconds
        return Work(self.jobs, self.calls, _times(self.units, factor), _times(self.item_units, factor))

    def without(self, stages: Collection[str]) -> "Work":
        """The work that is left when `stages` are done."""
        return self._kept([float(stage not in stages) for stage in STAGES])

    def after(self, stage: str, fraction: float) -> "Work":
        """The work that is left when all stages before `stage` and a fraction of it are done."""
        index = STAGES.index(stage)
        return self._kept([0.0] * index + [1.0 - fraction] + [1.0] * (len(STAGES) - index - 1))

    def _kept(self, shares: Sequence[float]) -> "Work":
        rows = (tuple(map(mul, row, shares)) for row in (self.calls, self.units, self.item_units))
        return Work(self.jobs, *rows)

    def _with(self, operation: Callable[[Any, Any], Any], other: "Work") -> "Work":
        return Work(
            operation(self.jobs, other.jobs),
            tuple(map(operation, self.calls, other.calls)),
            tuple(map(operation, self.units, other.units)),
            tuple(map(operation, self.item_units, other.item_units)),
        )


def _sums(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


def _times(row: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in row)
