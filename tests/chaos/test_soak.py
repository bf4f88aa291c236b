"""A server that runs for long keeps its memory, open files and disk. `benchmarks.soak` defines the limits."""

import subprocess
import sys

import pytest

from configs.settings import PROJECT_ROOT

pytestmark = pytest.mark.slow


def test_memory_files_and_disk_stay_as_they_are_over_500_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--jobs", "500"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    with capsys.disabled():
        print("", done.stdout, sep="\n")
    assert done.returncode == 0, done.stdout + done.stderr
