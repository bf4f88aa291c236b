"""A seed repeats a run exactly, in another process as well."""

import os
import subprocess
import sys

from configs.settings import PROJECT_ROOT
from tests.simulation.schedule import schedule_of
from tests.simulation.world import run

SEEDS = range(6)
PRINT = """
from tests.simulation.schedule import schedule_of
from tests.simulation.world import run
for seed in range(6):
    print(run(schedule_of(seed)).trace)
"""


def traces() -> list[str]:
    return [run(schedule_of(seed)).trace for seed in SEEDS]


def test_a_seed_repeats_a_run_exactly() -> None:
    first = traces()
    assert traces() == first
    assert len(set(first)) == len(first)


def test_a_seed_repeats_a_run_in_a_process_that_hashes_texts_differently() -> None:
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == traces()
