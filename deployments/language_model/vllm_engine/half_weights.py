"""Products in float32 with weights that a CPU keeps in float16.

A decode step of one song multiplies two rows with every weight, so it takes as long as reading the weights
from memory. Published checkpoints are in bfloat16. A float16 has more digits than a bfloat16 but a smaller
range, so such weights, multiplied by a power of two, lose nothing in float16, and half as much is read. From
sixteen rows on computing takes longer than reading, and both forms are equally fast.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.layers.linear import UnquantizedLinearMethod

_LARGEST_EXPONENT = 15
"""Weights are scaled to less than 2**15, the largest power of two that a float16 can hold."""
_LARGEST_ERROR = 2.0**-25
"""Largest rounding error allowed for a scaled weight, which is at most 2**-39 of the largest weight."""
_KERNELS = "fbgemm"
"""The kernels with float16 weights, on x86 processors with AVX2."""

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""vLLM's `cpu_linear` of a layer: (input [rows, in], the layer's weight, bias [out]) -> [rows, out]."""


def half_product(weight: Tensor) -> Product | None:
    """The product with a packed copy of `weight` [out, in]; it does not read the weight that it is given.

    None where `weight` would lose digits in float16, where it is not in float32, or without the kernels.
    """
    if weight.dtype != torch.float32 or _KERNELS not in torch.backends.quantized.supported_engines:
        return None
    _, exponent = math.frexp(float(weight.abs().max()))
    scale = 2.0 ** (_LARGEST_EXPONENT - exponent)
    scaled = weight.detach() * scale
    if not all(_error(rows) <= _LARGEST_ERROR for rows in torch.split(scaled, 1024)):  # of NaN, too
        return None
    packed = torch.ops.quantized.linear_prepack_fp16(scaled, None)

    def product(values: Tensor, _weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = torch.ops.quantized.linear_dynamic_fp16(values, packed).mul_(1 / scale)
        return result if bias is None else result.add_(bias)

    return product


class CpuLinearMethod(UnquantizedLinearMethod):  # type: ignore[misc]
    """vLLM's products of a linear layer on a CPU, with weights in float16 where these lose nothing."""

    def process_weights_after_loading(self, layer: Any) -> None:
        product = half_product(layer.weight)
        if product is None:
            super().process_weights_after_loading(layer)
            return
        layer.cpu_linear = product
        layer.weight = torch.nn.Parameter(layer.weight.new_empty(0), requires_grad=False)


def _error(weight: Tensor) -> float:
    """The largest change of `weight` in float16."""
    return float((weight - weight.half().float()).abs().max())
