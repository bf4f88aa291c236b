"""Runs Python programs in processes of their own and reads the JSON that they print."""

import json
import subprocess
import sys
from typing import Any

from benchmarks.end_to_end.servers import Bench, model_options
from configs.settings import PROJECT_ROOT


def json_of(module: str, bench: Bench, threads: int, *arguments: str) -> Any:
    """Return the JSON in the last line that a module prints.

    Raises RuntimeError with its error output if it fails.
    """
    options = ["--threads", str(threads), *model_options(bench)]
    command = [sys.executable, "-m", module, *arguments, *options]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
