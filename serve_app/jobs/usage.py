"""The usage of clients, by day.

The share of a job is counted when the job ends, and stays in its record. A store adds to its sums what
differs between the share in the record that it has and the one in the record that is written, in the same
transaction. So each end counts once, whatever is repeated or lost, and a deleted record takes nothing away.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

DAY_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Usage:
    """Amounts of one client and one day, or of one job.

    All are whole numbers, so that a sum over jobs is exact in any order.
    """

    succeeded: int = 0
    """Jobs that ended so."""
    failed: int = 0
    cancelled: int = 0
    audio_ms: int = 0
    """Milliseconds of the songs that were made."""
    codes: int = 0
    """Audio codes that the language model wrote."""
    language_model_ms: int = 0
    """Milliseconds of the stages of this engine."""
    generator_ms: int = 0
    codec_ms: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(mine + its for mine, its in zip(self.amounts, other.amounts, strict=True)))

    def __neg__(self) -> "Usage":
        return Usage(*(-amount for amount in self.amounts))

    @property
    def amounts(self) -> tuple[int, ...]:
        """Return all amounts, in the order of AMOUNTS."""
        return tuple(getattr(self, name) for name in AMOUNTS)

    @classmethod
    def total(cls, parts: Iterable["Usage"]) -> "Usage":
        """Return the sum of several."""
        return sum(parts, cls())


AMOUNTS = tuple(amount.name for amount in fields(Usage))
"""The names of all amounts."""

UsageKey = tuple[str, str]
"""A day and a client."""


@dataclass(frozen=True)
class Counted:
    """The share of an ended job in the usage of its client."""

    day: str
    usage: Usage


@dataclass(frozen=True)
class ClientUsage:
    """The answer to a client that asks what it used."""

    days: dict[str, Usage] = field(default_factory=dict)
    """By day, without days on which no job ended."""
    taken_ms: int = 0
    """Milliseconds that count against today's budget: of ended songs, and of jobs that wait or run."""
    renewed_at: float = 0.0
    """Epoch seconds at which the next day begins."""


def day_of(at: float) -> str:
    """Return the day (UTC, ISO 8601) of a time in epoch seconds."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def next_day(at: float) -> float:
    """Return the epoch seconds at which the day after that of `at` begins."""
    return (at // DAY_SECONDS + 1) * DAY_SECONDS


def days_before(at: float, days: int) -> str:
    """Return the day that was so many days before that of `at`."""
    return day_of(at - days * DAY_SECONDS)


def added_by(client: str, before: Counted | None, after: Counted | None) -> dict[UsageKey, Usage]:
    """Return what a store adds where a record with one share takes the place of one with another."""
    if before == after:
        return {}
    added: dict[UsageKey, Usage] = {}
    for counted, usage in (
        *([(before, -before.usage)] if before else []),
        *([(after, after.usage)] if after else []),
    ):
        key = counted.day, client
        added[key] = added.get(key, Usage()) + usage
    return added
