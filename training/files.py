"""Writes small files beside the weights, and the weights that a stage leaves for later ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

MODELS = "models"
"""Subfolder of a run's folder that holds the finished checkpoints."""


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in the format of checkpoints."""
    file.write_text(json.dumps(content, indent=2) + "\n")


def save_weights(module: nn.Module, file: Path) -> None:
    """Write the module's weights in half precision, like those of the exported checkpoint."""
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in module.state_dict().items()
    }
    aside = file.with_suffix(".part")
    torch.save(halves, aside)
    aside.replace(file)


def load_weights(module: nn.Module, file: Path) -> None:
    """Load weights that `save_weights` has written. The module keeps its own precision."""
    module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
