"""Holds the goals of the server and whether a run met them."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "≥": operator.ge,
    "≤": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Goal:
    """One measured figure and the limit that it should keep."""

    name: str
    value: float
    comparison: str
    limit: float
    unit: str = ""

    @property
    def is_met(self) -> bool:
        return _COMPARISONS[self.comparison](self.value, self.limit)

    def row(self) -> dict[str, Any]:
        """Return the goal as a row of the last table."""
        unit = f" {self.unit}" if self.unit else ""
        return {
            "goal": self.name,
            "wanted": f"{self.comparison} {self.limit:.3g}{unit}",
            "measured": f"{self.value:.3g}{unit}",
            "": "met" if self.is_met else "MISSED",
        }


def table(goals: Sequence[Goal]) -> list[dict[str, Any]]:
    return [goal.row() for goal in goals]
