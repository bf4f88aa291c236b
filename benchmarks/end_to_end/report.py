"""What a run has found: printed as it comes, written as JSON at the end."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.end_to_end import goals
from benchmarks.end_to_end.goals import Goal
from benchmarks.end_to_end.load import Record
from benchmarks.measuring import Table, show


@dataclass
class Report:
    """Tables by title, goals, and every job."""

    about: dict[str, Any]
    """The machine, the models, the options."""
    tables: dict[str, Table] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    records: dict[str, list[Record]] = field(default_factory=dict)

    def table(self, title: str, rows: Table) -> None:
        self.tables[title] = rows
        show(title, rows)

    def goal(self, name: str, value: float, comparison: str, limit: float, unit: str = "") -> None:
        self.goals.append(Goal(name, value, comparison, limit, unit))

    def jobs(self, what: str, records: Sequence[Record]) -> None:
        self.records[what] = list(records)

    def end(self, file: Path) -> None:
        """Print the goals and write everything."""
        if self.goals:
            show("Goals", goals.table(self.goals))
        figures = {
            **self.about,
            "tables": self.tables,
            "goals": goals.table(self.goals),
            "jobs": {what: [asdict(record) for record in records] for what, records in self.records.items()},
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=1) + "\n")
