"""The functions that compute the DiT's layers on a device; they are chosen when the model is loaded."""

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
    """The attention and the three functions of layer.py, either compiled or not."""

    attention: PackedAttention
    self_attention_inputs: Callable[
        [LayerWeights, Tensor, TimeEmbedding, Rotary, bool], tuple[Tensor, Tensor, Tensor]
    ]
    cross_attention_inputs: Callable[
        [LayerWeights, Tensor, Tensor, TimeEmbedding, bool], tuple[Tensor, Tensor]
    ]
    layer_output: Callable[[LayerWeights, Tensor, Tensor, TimeEmbedding, bool], Tensor]
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
        """Kernels that a backend of torch.compile compiles in the first forwards.

        All layers share the compiled functions, which take the weights as arguments. torch.compile makes a
        length a variable when it sees a second value of it (`PackedTransformer.warm_up`).
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
    """The fastest kernels for `device`; `window` is the reach of windowed attention in tokens.

    They are compiled if `compiled` and the device is a GPU. On a CPU compilation saves no time
    (docs/history/performance.md).
    """
    attention = attention_for(device, dtype, window)
    if compiled and device.type == "cuda":
        return Kernels.compiled_with("inductor", attention)
    return Kernels.as_written(attention)
