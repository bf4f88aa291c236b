"""Reading weight files, and loading them into modules that were made without allocating weights."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from deployments.checkpoints.errors import CheckpointError

Module = TypeVar("Module", bound=nn.Module)


def read_config(file: Path) -> dict[str, Any]:
    """The JSON object in `file`. Raises CheckpointError if it is missing or not a JSON object."""
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: is {file.parent} a whole checkpoint?")
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise CheckpointError(f"{file} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} holds no JSON object")
    return config


def weight_files(folder: Path, stem: str) -> list[Path]:
    """`{stem}.safetensors`, or the shards that `{stem}.safetensors.index.json` names.

    Raises CheckpointError if one of them is missing.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if not index.exists():
        files = [folder / f"{stem}.safetensors"]
    else:
        weight_map = read_config(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index} has no weight_map")
        files = [folder / shard for shard in sorted(set(weight_map.values()))]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"weights are missing: {', '.join(missing)}")
    return files


@dataclass(frozen=True)
class TensorHeader:
    """The shape and dtype of a tensor, as in the header of its weight file."""

    shape: tuple[int, ...]
    dtype: str
    """The name that safetensors uses: F32, BF16, …"""

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def read_headers(files: list[Path]) -> dict[str, TensorHeader]:
    """The header of every tensor in `files` by name; no weights are read.

    Raises CheckpointError for a file that is truncated or not a safetensors file.
    """
    headers = {}
    for file in files:
        # The framework is numpy, because for torch safetensors maps files as private memory, which a small
        # machine refuses.
        with _opened(file, "np", "cpu") as opened:
            for key in sorted(opened.keys()):
                tensor = opened.get_slice(key)
                headers[key] = TensorHeader(tuple(tensor.get_shape()), tensor.get_dtype())
    return headers


def read_tensors(files: list[Path], device: str, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every tensor in `files` by name, on `device`, in its own memory; floating-point ones as `dtype`.

    A tensor that safetensors reads on a CPU is a view of the whole mapped file. Without a copy it would keep
    the pages of all other tensors in memory, even of those that were copied or converted.
    """
    is_mapped = device == "cpu"
    for file in files:
        with _opened(file, "pt", device) as opened:
            for key in sorted(opened.keys()):
                tensor = opened.get_tensor(key)
                yield key, tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=is_mapped)


@contextmanager
def _opened(file: Path, framework: str, device: str) -> Iterator[Any]:
    try:
        with safe_open(file, framework=framework, device=device) as opened:
            yield opened
    except SafetensorError as error:
        raise CheckpointError(f"{file} can't be read, it may be incomplete: {error}") from error


def module_without_weights(build: Callable[..., Module], arguments: Mapping[str, Any]) -> Module:
    """`build(**arguments)` on the meta device, where tensors have shapes but no memory."""
    with torch.device("meta"):
        return build(**arguments)


def module_from(
    module_class: type[Module], arguments: Mapping[str, Any], state: Mapping[str, torch.Tensor], source: Path
) -> Module:
    """A frozen `module_class(**arguments)` that uses the tensors of `state` without copying them.

    Raises CheckpointError if keys or shapes do not match.
    """
    module = module_without_weights(module_class, arguments)
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {source} don't fit their config: {error}") from error
    return module.eval().requires_grad_(False)


def require_materialised(module: nn.Module, source: Path) -> None:
    """Raises CheckpointError if a tensor of `module` has no value."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    left = [name for name, tensor in tensors if tensor.is_meta]
    if left:
        raise CheckpointError(f"the weights in {source} leave {', '.join(left)} without a value")
