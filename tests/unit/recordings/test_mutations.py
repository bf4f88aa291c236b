"""Thousands of damaged files: each is decoded or refused within the limits, and none crashes anything."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from configs.settings import PROJECT_ROOT


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_mutated_files_are_decoded_or_refused(count: int):
    command = [sys.executable, "-m", "tests.mutated_audio", "0", str(count)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, check=True)
    outcomes = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(outcomes) == count
    # These are a signal, a limit that was reached, a failure of the machine, and an unexpected exception.
    assert [outcome for outcome in outcomes if outcome["status"] != 0 or len(outcome["report"]) != 2] == []
    endings = Counter(ending for outcome in outcomes for ending in outcome["report"][1])
    assert endings.keys() == {"converted", "refused"}
    assert min(endings.values()) > count / 10
