"""Collects the results of a run. It prints them as they come and writes them as JSON at the end."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.end_to_end import goals
from benchmarks.end_to_end.goals import Goal
from benchmarks.end_to_end.load import Record
from benchmarks.measuring import Table, product_gflops, show


@dataclass
class Report:
    """Holds tables by title, goals, and every job."""

    about: dict[str, Any]
    """The machine, the models and the options of the run."""
    tables: dict[str, Table] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    records: dict[str, list[Record]] = field(default_factory=dict)
    pace: list[dict[str, Any]] = field(default_factory=list)
    """The machine's speed in the course of the run.

    It matters because contestants ran one after the other.
    """
    started: float = field(default_factory=time.monotonic)

    def table(self, title: str, rows: Table) -> None:
        self.tables[title] = rows
        show(title, rows)
        minutes = (time.monotonic() - self.started) / 60
        self.pace.append(
            {"minute": minutes, "plain product, GFLOP/s": product_gflops(torch.float32), "after": title}
        )

    def goal(self, name: str, value: float, comparison: str, limit: float, unit: str = "") -> None:
        self.goals.append(Goal(name, value, comparison, limit, unit))

    def jobs(self, what: str, records: Sequence[Record]) -> None:
        self.records[what] = list(records)

    def end(self, file: Path) -> None:
        """Print the goals and write everything to `file`."""
        if self.pace:
            show("The machine's own speed", self.pace)
        if self.goals:
            show("Goals", goals.table(self.goals))
        figures = {
            **self.about,
            "tables": self.tables,
            "pace": self.pace,
            "goals": goals.table(self.goals),
            "jobs": {what: [asdict(record) for record in records] for what, records in self.records.items()},
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=1) + "\n")
