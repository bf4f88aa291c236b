"""The benchmarks run and write what their documentation describes. Their figures need a quiet machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.readers.__main__ import GENERATION, POLLS, WAITING
from benchmarks.readers.polls import EMPTY, ENDED, QUEUED, RUNNING
from configs.settings import PROJECT_ROOT

pytestmark = pytest.mark.slow


def figures_of(benchmark: str, file: Path) -> dict[str, Any]:
    options = ["--quick", "--threads", "1", "--dtypes", "float32", "--json", str(file)]
    subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", *options],
        cwd=PROJECT_ROOT,
        check=True,
        capture_output=True,
    )
    figures: dict[str, Any] = json.loads(file.read_text())
    assert figures["threads"] == 1
    assert figures["float32_product_gflops"] > 0
    return figures


def test_the_generator_is_compared_with_diffusers_pipeline(tmp_path: Path) -> None:
    for table in figures_of("generator", tmp_path / "figures.json")["tables"].values():
        assert [row["jobs"] for row in table] == [1, 2]
        assert all(row["ratio"] > 0 and row["ticks"] >= 8 and row["padding, %"] <= 1 for row in table)


def test_the_codec_is_compared_with_diffusers_tiled_decode(tmp_path: Path) -> None:
    (table,) = figures_of("codec", tmp_path / "figures.json")["tables"].values()
    assert [row["audio, s"] for row in table] == [1.0, 21.0]
    assert all(row["ratio"] > 0 and row["difference, relative"] <= 1e-4 for row in table)


def test_the_language_model_is_compared_with_a_transformers_loop(tmp_path: Path) -> None:
    tables = figures_of("lm", tmp_path / "figures.json")["tables"]
    guidance = [table for name, table in tables.items() if name.endswith("the cost of guidance")]
    speeds = [table for name, table in tables.items() if not name.endswith("the cost of guidance")]
    assert len(speeds) == len(guidance) == 2
    for table in speeds:
        assert [row["songs"] for row in table] == [1, 2]
        assert all(row["ratio"] > 0 and row["songs with the peer's codes"] == "2 of 2" for row in table)
    assert all(row["ratio"] > 0 for table in guidance for row in table)


def test_the_host_time_of_a_step_of_the_language_model_is_given_by_part(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.lm_host_time", "--quick", "--json", str(file)]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True)
    (table,) = json.loads(file.read_text())["tables"].values()
    times = {row["part"]: row["now, ms"] for row in table}
    assert all(
        times[part] > 0 for part in ("vLLM's scheduler", "guidance and drawing", "the model's forward")
    )
    assert times["host time of a step"] < times["by the clock"]


def test_what_readers_cost_is_given_by_kind_of_job_and_of_client(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.readers", "--quick", "--clients", "40", "--json", str(file)]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True)
    tables = json.loads(file.read_text())["tables"]
    polls = [(row["clients"], row["polls of"]) for row in tables[POLLS]]
    assert polls == [(clients, kind) for clients in (1, 32) for kind in (EMPTY, QUEUED, RUNNING, ENDED)]
    assert all(row["a second"] > 0 for row in tables[POLLS])
    kinds = ["40 event streams", "40 long polls"]
    assert [row["waiting"] for row in tables[GENERATION]] == ["nobody", *kinds]
    assert all(row["seconds"] > 0 for row in tables[GENERATION])
    assert [row["clients"] for row in tables[WAITING] if row["process"] == "Ingress"] == kinds
    assert all(row["with the clients, MiB"] > 0 for row in tables[WAITING])
