"""How much a job asks of each stage: what estimates of time and fairness between clients are built on."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import add, mul, sub
from typing import Any

from deployments.common.messages import STAGES

_NOTHING = (0.0,) * len(STAGES)


@dataclass(frozen=True)
class Work:
    """The work of one job, or of many together; by stage, in the order of STAGES."""

    jobs: int = 0
    calls: tuple[float, ...] = _NOTHING
    """How many jobs go through each stage."""
    units: tuple[float, ...] = _NOTHING
    """What they ask there: nothing more; codes; DiT rows x seconds of audio; seconds of audio, twice."""
    item_units: tuple[float, ...] = _NOTHING
    """What the longest item of each batch asks: items side by side may take hardly longer than one."""

    @classmethod
    def total(cls, works: Iterable["Work"]) -> "Work":
        """The work of all together."""
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
        """The same with songs of another length, all together."""
        if not self.audio_seconds:
            return self
        factor = audio_seconds / self.audio_seconds
        return Work(self.jobs, self.calls, _times(self.units, factor), _times(self.item_units, factor))

    def without(self, stages: Collection[str]) -> "Work":
        """What is left when some stages are done."""
        return self._kept([float(stage not in stages) for stage in STAGES])

    def after(self, stage: str, fraction: float) -> "Work":
        """What is left when all before a stage is done, and a fraction of it."""
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
