"""Loading a model leaves its weights in memory and none of their sources."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from configs.settings import PROJECT_ROOT
from deployments.checkpoints.weights import read_tensors


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_tensor_that_is_kept_does_not_hold_the_file_that_it_was_read_from(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"large": torch.randn(1 << 20).bfloat16(), "small": torch.arange(8.0).bfloat16()}, file)
    kept = dict(read_tensors([file], "cpu", dtype))
    assert kept["small"].tolist() == list(range(8))
    assert str(file) not in Path("/proc/self/maps").read_text()


HOLES = """
import numpy as np, psutil
from deployments.common.processor import loading
with loading():
    blocks = [np.ones(100_000, np.uint8) for _ in range(1_000)]
    blocks = blocks[::10]  # what stays lies between what was freed
    before = psutil.Process().memory_info().rss
print(before - psutil.Process().memory_info().rss)
"""


def test_what_loading_has_freed_goes_back_to_the_kernel() -> None:
    if not sys.platform.startswith("linux") or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"):
        pytest.skip("another C library")
    command = [sys.executable, "-c", HOLES]
    ended = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 50e6
