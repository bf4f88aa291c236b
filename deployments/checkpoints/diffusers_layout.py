"""Components in diffusers' own format: a folder with a config.json and weight files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deployments.checkpoints.weights import read_config, read_tensors, weight_files

DIFFUSERS_STEM = "diffusion_pytorch_model"
"""The name of weight files, without the numbers of shards and the extension."""


def diffusers_part(
    folder: Path, device: str, dtype: torch.dtype
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Constructor arguments and state dict of the module in `folder`. Raises CheckpointError."""
    arguments = diffusers_arguments(read_config(folder / "config.json"))
    return arguments, dict(read_tensors(weight_files(folder, DIFFUSERS_STEM), device, dtype))


def diffusers_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments in a config.json of diffusers' own format."""
    return {key: value for key, value in config.items() if not key.startswith("_")}
