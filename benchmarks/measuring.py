"""Holds what several benchmarks need: options, cost of work, tables, JSON, and facts about the machine."""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

_Result = TypeVar("_Result")

Table = Sequence[Mapping[str, Any]]
"""Rows of one table. All have the same columns."""


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="a tiny model and few jobs, to see that it runs")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="CPU threads of both sides"
    )
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"]
    )
    return parser


@dataclass(frozen=True)
class Cost:
    """The time that some work took."""

    seconds: float
    processor_seconds: float
    """Processor time of all threads. Other programs on the machine change it little."""

    def best(self, other: "Cost") -> "Cost":
        """Return the smaller value of each kind of time."""
        return Cost(min(self.seconds, other.seconds), min(self.processor_seconds, other.processor_seconds))


def measured(work: Callable[[], _Result]) -> tuple[Cost, _Result]:
    """Run `work` and return its cost and its result."""
    started, processor_started = time.perf_counter(), time.process_time()
    result = work()
    return Cost(time.perf_counter() - started, time.process_time() - processor_started), result


def timed(work: Callable[[], _Result]) -> tuple[float, _Result]:
    """Run `work` and return its seconds and its result."""
    cost, result = measured(work)
    return cost.seconds, result


def product_gflops(dtype: torch.dtype, size: int = 1024) -> float:
    """Return the GFLOP/s of a plain matrix product, the best of a few.

    It shows what the processor can reach.
    """
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    left @ right
    return 2 * size**3 / min(timed(lambda: left @ right)[0] for _ in range(8)) / 1e9


def million_parameters(*modules: torch.nn.Module) -> float:
    return sum(parameter.numel() for module in modules for parameter in module.parameters()) / 1e6


def show(title: str, table: Table) -> None:
    """Print a table in Markdown; a row may lack columns."""
    columns = list(dict.fromkeys(column for row in table for column in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in table)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = [" | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    rule = " | ".join("-" * (width - 1) + ":" for width in widths)
    print(f"\n{title}\n", *(f"| {line} |" for line in (lines[0], rule, *lines[1:])), sep="\n", flush=True)


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(figures, indent=2) + "\n")
        aside.replace(path)  # whoever ends this process finds whole figures


def machine(threads: int) -> dict[str, Any]:
    """Return facts about the machine on which the figures are measured."""
    return {
        "processor": torch.cpu.get_capabilities().get("architecture"),
        "threads": threads,
        "torch": torch.__version__,
    }


@contextmanager
def running_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
