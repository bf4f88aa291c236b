"""Plants faults that the tests must notice, one after the other, in a copy of the tree.

    python -m tests.planted_faults [--only WORDS] [--fast]

The faults are in tests/data/planted_faults.yaml. The program prints the test that noticed each one. Its exit
code is 1 when one was not noticed. The tests nearest to a fault run first, then all fast ones, then those on
engines and on a running server.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FAULTS = Path(__file__).with_name("data") / "planted_faults.yaml"
FARTHER = (
    ("tests/unit", "tests/parity"),
    ("tests/integration/generator", "tests/integration/codec", "tests/integration/language_model"),
    ("tests/integration/test_songs.py", "tests/integration/test_seed_examples.py"),
)
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "*_cache", ".hypothesis", "output", "models")


@dataclass(frozen=True)
class Fault:
    """One fault: `before`, which occurs once in the file, becomes `after`."""

    file: str
    before: str
    after: str
    nearest: tuple[str, ...]

    @property
    def name(self) -> str:
        kept = self.before.splitlines()
        changed = [line.strip() for line in self.after.splitlines() if line not in kept]
        return f"{self.file}: {changed[0] if changed else 'without ' + kept[-1].strip()}"


def faults() -> list[Fault]:
    """Return all known faults."""
    content: dict[str, Any] = yaml.safe_load(FAULTS.read_text())
    return [
        Fault(one["file"], one["before"], one["after"], tuple(content["nearest"][one["nearest"]]))
        for one in content["faults"]
    ]


def noticed_by(tree: Path, fault: Fault, farther: Sequence[tuple[str, ...]] = FARTHER) -> str | None:
    """Return the first test that fails with the fault in `tree`, or None.

    The tests nearest to the fault run first, then `farther`. Raises ValueError when the code has changed, so
    that the fault cannot be planted.
    """
    file = tree / fault.file
    whole = file.read_text()
    if whole.count(fault.before) != 1:
        raise ValueError(f"{fault.name}: what it changes is there {whole.count(fault.before)} times")
    file.write_text(whole.replace(fault.before, fault.after))
    try:
        for tests in (fault.nearest, *farther):
            there = [test for test in tests if (tree / test).exists()]
            failed = _first_failure(tree, there)
            if failed:
                return failed
        return None
    finally:
        file.write_text(whole)


def _first_failure(tree: Path, tests: list[str]) -> str | None:
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-m", "not slow"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (tests/\S+)", done.stdout, re.MULTILINE)
    return found[1] if found else f"pytest ended with {done.returncode}: {done.stdout[-300:]}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to plant them in")
    parser.add_argument("--fast", action="store_true", help="only with the tests nearest and the fast ones")
    chosen = parser.parse_args()
    planted = [fault for fault in faults() if chosen.only in fault.name]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        tree = Path(name) / "tree"
        shutil.copytree(chosen.root, tree, ignore=LEFT_OUT)
        for number, fault in enumerate(planted, 1):
            began = time.monotonic()
            noticed = noticed_by(tree, fault, FARTHER[:1] if chosen.fast else FARTHER)
            missed += noticed is None
            seconds = f"{time.monotonic() - began:4.0f} s"
            print(f"{number:3d}/{len(planted)} {seconds}  {fault.name}", flush=True)
            print(f"        {noticed or 'NOT NOTICED'}", flush=True)
    print(f"{len(planted) - missed} of {len(planted)} faults were noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
