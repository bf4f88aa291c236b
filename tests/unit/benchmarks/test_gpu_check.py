"""benchmarks.gpu_check without a GPU: it runs, and no part can affect the others."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dit_shapes import TWO_B, XL
from benchmarks.flash_on_cpu import flash_kernel_on_cpu
from benchmarks.gpu_check import sizes
from benchmarks.gpu_check.dit import REFERENCE_MS, compare_numbers, step_flops, time_steps
from benchmarks.gpu_check.running import Part, run
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.measuring import running_threads, show
from configs.settings import PROJECT_ROOT
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.checkpoints.official_shapes import official_config
from tests.missing_packages import without_packages

BLOCKED = ("av", "pydantic", "ray", "soundfile", "vllm", "xgrammar")
"""Packages that a machine with PyTorch and transformers may lack."""


@pytest.mark.slow
def test_a_dry_run_runs_every_part_where_only_torch_and_diffusers_are_installed(tmp_path: Path) -> None:
    file = tmp_path / "new" / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", "--dry-run", "--json", str(file)],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONPATH": str(without_packages(tmp_path, BLOCKED))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads(file.read_text())["parts"]
    assert all(part["ok"] and part["rows"] for part in parts.values())
    assert {row["way"] for row in parts["numbers"]["rows"]} == {"segments", "one attention", "compiled"}
    steps = parts["steps of the 2B model"]["rows"]
    assert {row["songs"] for row in steps} == {load.name for load in sizes.for_cpu().loads}
    assert all(row["ms"] > 0 and row["kernels"] > 0 for row in steps)


def test_where_nothing_compiles_everything_else_is_measured() -> None:
    def fail(*_arguments: object) -> None:
        raise OSError("there is no compiler")

    tiny = sizes.for_cpu()
    tiny = replace(tiny, compile_backend=fail, shapes={"2B": tiny.shapes["2B"]}, loads=tiny.loads[:1])
    with flash_kernel_on_cpu(), running_threads(1):
        for rows in (list(time_steps("2B", tiny)), list(compare_numbers(tiny))):
            failed = [row for row in rows if "problem" in row]
            assert {row["way"] for row in failed} == {"compiled"}
            assert all(not row["ok"] and "torch.compile failed" in row["problem"] for row in failed)
            measured = {row["way"] for row in rows if row not in failed}
            assert {"segments", "one attention"} <= measured
            show("rows with and without figures", rows)


@pytest.mark.parametrize("package", BLOCKED)
def test_the_blocked_packages_are_blocked(tmp_path: Path, package: str) -> None:
    command = [sys.executable, "-c", f"import {package}"]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(without_packages(tmp_path, BLOCKED))},
        capture_output=True,
    )
    assert done.returncode == 1


def row_then(ending: str) -> Any:
    def rows(_sizes: Sizes) -> Iterator[dict[str, Any]]:
        yield {"value": 1}
        if ending == "fails":
            raise ArithmeticError("no such kernel")
        if ending == "dies":
            os._exit(11)
        if ending == "hangs":
            time.sleep(3600)
        yield {"value": 2, "ok": ending != "is wrong"}

    return rows


@pytest.mark.parametrize(
    ("ending", "rows", "problem"),
    [
        ("is well", 2, None),
        ("is wrong", 2, None),
        ("fails", 1, "no such kernel"),
        ("dies", 1, "exit code 11"),
        ("hangs", 1, "killed: no answer"),
    ],
)
def test_a_part_that_fails_is_told_with_what_it_found_before(
    ending: str, rows: int, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.gpu_check.running._LAST_ROW_SECONDS", 0.0)
    seconds = 1 if ending == "hangs" else 600
    *_, outcome = run(Part("a part", row_then(ending), seconds), replace(sizes.for_cpu(), patience=1))
    # A part that hangs may be killed before its first row.
    assert ending == "hangs" or len(outcome.rows) == rows
    assert outcome.ok == (ending == "is well")
    assert outcome.problem is None if problem is None else problem in str(outcome.problem)


def test_rows_beyond_a_parts_time_are_left_out() -> None:
    *_, outcome = run(Part("slow", row_then("is well"), seconds=-1), sizes.for_cpu())
    assert len(outcome.rows) == 1
    assert "rows are missing" in str(outcome.problem)


def test_all_parts_together_take_five_minutes_at_most() -> None:
    from benchmarks.gpu_check.__main__ import PARTS

    assert sum(part.seconds for part in PARTS) <= 280


@pytest.mark.parametrize(("name", "ours"), [("acestep-v15-turbo", TWO_B), ("acestep-v15-xl-turbo", XL)])
def test_the_shapes_are_the_official_ones(name: str, ours: dict[str, Any]) -> None:
    official = official_config(name)
    component = Component.TRANSFORMER
    assert module_arguments(component, ours) == module_arguments(component, official)


@pytest.mark.parametrize(("shape", "song"), REFERENCE_MS)
def test_the_roofline_is_near_one_that_was_worked_out_independently(shape: str, song: str) -> None:
    seconds = int(song.split()[2])
    flops = step_flops({"2B": TWO_B, "XL": XL}[shape], [round(12.5 * seconds)], [400])
    assert 1000 * flops / 989e12 == pytest.approx(REFERENCE_MS[shape, song], rel=0.12)
