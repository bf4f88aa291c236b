"""How the DiT's forward is computed on a device, chosen once when the model is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from deployments.generator import layer
from deployments.generator.attention import PackedAttention, attention_for
from deployments.generator.layer import LayerWeights, Rotary, TimeEmbedding


@dataclass(frozen=True)
class Kernels:
    """The attention, and the three functions of layer.py as they are written or compiled."""

    attention: PackedAttention
    self_attention_inputs: Callable[
        [LayerWeights, Tensor, TimeEmbedding, Rotary], tuple[Tensor, Tensor, Tensor]
    ]
    cross_attention_inputs: Callable[[LayerWeights, Tensor, Tensor, TimeEmbedding], tuple[Tensor, Tensor]]
    layer_output: Callable[[LayerWeights, Tensor, Tensor, TimeEmbedding], Tensor]
    compiled: bool

    @classmethod
    def as_written(cls, attention: PackedAttention) -> "Kernels":
        return cls(
            attention,
            layer.self_attention_inputs,
            layer.cross_attention_inputs,
            layer.layer_output,
            compiled=False,
        )

    @classmethod
    def compiled_with(cls, backend: str | Callable[..., Any], attention: PackedAttention) -> "Kernels":
        """Compiled by a backend of torch.compile, at the first forwards.

        All layers share the compiled functions, which take their weights as arguments. Lengths become
        variables of the functions as soon as a second one is seen (`warm_up`).
        """
        compiled = partial(torch.compile, backend=backend, fullgraph=True)
        return cls(
            attention,
            compiled(layer.self_attention_inputs),
            compiled(layer.cross_attention_inputs),
            compiled(layer.layer_output),
            compiled=True,
        )


def kernels_for(device: torch.device, dtype: torch.dtype, window: int, compiled: bool = True) -> Kernels:
    """The fastest kernels of `device`; `window` is that of windowed layers, in tokens.

    Only a GPU gets compiled ones, if `compiled`: on a CPU they cost what they save (docs/performance.md).
    """
    attention = attention_for(device, dtype, window)
    if compiled and device.type == "cuda":
        return Kernels.compiled_with("inductor", attention)
    return Kernels.as_written(attention)
