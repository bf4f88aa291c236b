"""Summarises many jobs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.end_to_end.load import Record


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a `share` (0 to 1) of `values` do not exceed, interpolated linearly."""
    if not values:
        raise ValueError("no values, no percentile")
    ordered = sorted(values)
    rank = share * (len(ordered) - 1)
    below = math.floor(rank)
    above = math.ceil(rank)
    return ordered[below] + (rank - below) * (ordered[above] - ordered[below])


@dataclass(frozen=True)
class Speed:
    """The speed at which a server completed some jobs."""

    jobs: int
    seconds: float
    """Seconds from the first submit until the last client knew of its end."""
    audio_seconds: int
    latencies: tuple[float, ...]
    waits: tuple[float, ...]

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Speed":
        """Summarise the jobs of `records`. Raises ValueError when there are none."""
        return cls(
            len(records),
            max(record.seen for record in records) - min(record.submitted for record in records),
            sum(record.audio_seconds for record in records),
            tuple(record.latency for record in records),
            tuple(record.waited for record in records),
        )

    @property
    def jobs_per_second(self) -> float:
        return self.jobs / self.seconds

    @property
    def audio_per_second(self) -> float:
        """Return the seconds of music made in one second, which is a throughput independent of durations."""
        return self.audio_seconds / self.seconds

    def latency(self, share: float) -> float:
        return percentile(self.latencies, share)

    def row(self) -> dict[str, Any]:
        """Return the columns of a table."""
        return {
            "jobs": self.jobs,
            "jobs/min": 60 * self.jobs_per_second,
            "audio s/s": self.audio_per_second,
            "p50, s": self.latency(0.5),
            "p95, s": self.latency(0.95),
            "wait p50, s": percentile(self.waits, 0.5),
        }


def mean_stages(records: Sequence[Record]) -> dict[str, float]:
    """Return the mean seconds that a job spent in each stage."""
    names = dict.fromkeys(name for record in records for name in record.stages)
    return {name: sum(record.stages.get(name, 0.0) for record in records) / len(records) for name in names}
