"""Measures the models' work on a GPU in at most five minutes, before any checkpoint is downloaded.

    python -m benchmarks.gpu_check --json gpu_check.json

All weights are random, in the official shapes. The check needs neither Ray nor vLLM, nor pydantic, PyAV or
libsndfile. Each part runs in a process of its own, so a part that fails, hangs or takes too long is reported
and leaves the others alone. The file is written anew after every row.

`--dry-run` runs the same parts in miniature on a CPU, to see that they run. The exit code is 1 when a part
failed or found an error.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check import dit, others, sizes
from benchmarks.gpu_check.running import Outcome, Part, run
from benchmarks.measuring import show, write_json

PARTS = (
    Part("peaks", others.peaks, seconds=20),
    Part("steps of the 2B model", partial(dit.time_steps, "2B"), seconds=75),
    Part("steps of the XL model", partial(dit.time_steps, "XL"), seconds=80),
    Part("numbers", dit.compare_numbers, seconds=50),
    Part("tiles", others.decode_tiles, seconds=20),
    Part("sampling", others.sample, seconds=10),
    Part("memory", others.run_out_of_memory, seconds=20),
)
"""The parts. Their limits add up to 275 s, besides the imports and the last row of each part."""


def figures(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "parts": {name: asdict(outcome) | {"ok": outcome.ok} for name, outcome in outcomes.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--json", type=Path, help="also write the figures to this file, after every row")
    parser.add_argument("--dry-run", action="store_true", help="in miniature on a CPU")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="times the parts' time limits, where compiling takes long"
    )
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    chosen = parser.parse_args()
    measured = sizes.for_cpu() if chosen.dry_run else sizes.for_gpu()
    measured = replace(measured, patience=chosen.patience * measured.patience)
    outcomes: dict[str, Outcome] = {}
    for part in PARTS:
        if part.name not in chosen.parts:
            continue
        for outcome in run(part, measured):
            outcomes[part.name] = outcome
            write_json(chosen.json, figures(outcomes))
        if outcome.rows:
            show(f"{part.name}, {outcome.seconds:.0f} s", outcome.rows)
        if outcome.problem:
            print(f"\n{part.name}: {outcome.problem}", flush=True)
    failed = [name for name, outcome in outcomes.items() if not outcome.ok]
    print("\nfailed: " + ", ".join(failed) if failed else "\nall parts are well", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
