from dataclasses import dataclass

import pytest

from benchmarks.end_to_end.processes import memory_table, role
from serve_app.jobs.client import TrackerProcess

MIB = 1 << 20


@dataclass
class Process:
    """The part of a process that `role` reads."""

    title: list[str]

    def cmdline(self) -> list[str]:
        return self.title

    def name(self) -> str:
        return "kernel"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        (["ray::ServeReplica:acestep:Codec"], "Codec"),
        (["ray::ServeReplica:acestep:LanguageModel.initialize_and_get_metadata"], "LanguageModel"),
        ([f"ray::{TrackerProcess.__name__}.call"], "TrackerProcess"),
        (["/venv/bin/python", "/venv/ray/dashboard.py", "--port=1"], "dashboard.py"),
        (["/venv/bin/python", "/venv/bin/serve", "run", "config.yaml"], "serve"),
        (["/venv/bin/python", "-m", "benchmarks.peers.server", "--port", "1"], "benchmarks.peers.server"),
        (["/ray/raylet/raylet", "--store=x"], "raylet"),
        ([], "kernel"),
    ],
)
def test_processes_are_called_by_what_they_are_for(title: list[str], name: str) -> None:
    assert role(Process(title)) == name


def test_memory_is_shown_with_its_sum() -> None:
    # These peaks are not all at one moment.
    peaks = {"Codec": 5 * MIB, "Generator": 3 * MIB, "late": MIB, "all": 7 * MIB}
    rows = memory_table({"Codec": MIB, "Generator": 2 * MIB}, peaks)
    assert [row["process"] for row in rows] == ["Generator", "Codec", "late", "all"]
    assert rows[-1] == {"process": "all", "at rest, MiB": 3.0, "at peak, MiB": 7.0}
