"""Weights in float16 give the products of the same weights in float32, or are not used."""

import importlib
import math
from types import ModuleType

import pytest
import torch
from torch.nn import functional

OUT, IN = 1500, 320
ROUNDING = math.sqrt(IN) * 2.0**-24
"""Error of a sum of IN float32 products, relative to the sum of their magnitudes, whatever the order of
summation (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019). Weights that
lose digits in float16 exceed it more than fifty times."""


@pytest.fixture(scope="module")
def half_weights() -> ModuleType:
    """The module under test. It imports vLLM, which takes seconds, so it is not imported while collecting."""
    return importlib.import_module("deployments.language_model.vllm_engine.half_weights")


def bfloat16_weights(scale: float) -> torch.Tensor:
    """Float32 weights that were stored as bfloat16; a seventh of the rows is next to zero."""
    weights = torch.randn(OUT, IN, generator=torch.Generator().manual_seed(1)) * scale
    weights[::7] *= 1e-4
    return weights.bfloat16().float()


@pytest.mark.parametrize("scale", [0.02, 1e-6, 1e6])
@pytest.mark.parametrize("rows", [1, 2, 13, 64])
def test_products_are_those_of_float32_up_to_rounding(
    half_weights: ModuleType, rows: int, scale: float
) -> None:
    weights = bfloat16_weights(scale)
    values = torch.randn(rows, IN, generator=torch.Generator().manual_seed(2))
    product = half_weights.half_product(weights)
    assert product is not None
    expected = functional.linear(values.double(), weights.double())
    magnitudes = functional.linear(values.double().abs(), weights.double().abs())
    errors = (product(values, torch.empty(0), None) - expected).abs()
    assert (errors <= ROUNDING * magnitudes).all()
    bias = torch.arange(OUT).float()
    assert torch.equal(product(values, torch.empty(0), bias), product(values, torch.empty(0), None) + bias)


def test_weights_that_would_lose_digits_stay_as_they_are(half_weights: ModuleType) -> None:
    assert half_weights.half_product(bfloat16_weights(0.02) * 1.001) is None
    last = bfloat16_weights(0.02)
    last[-1, -1] = 0.010001
    assert half_weights.half_product(last) is None
    last[-1, -1] = torch.nan
    assert half_weights.half_product(last) is None


def test_other_types_stay_as_they_are(half_weights: ModuleType) -> None:
    assert half_weights.half_product(bfloat16_weights(0.02).bfloat16()) is None


@pytest.mark.parametrize("lossless", [True, False])
def test_a_layer_gives_its_weights_up_and_computes_as_before(
    half_weights: ModuleType, lossless: bool
) -> None:
    weights = bfloat16_weights(0.02) * (1.0 if lossless else 1.001)
    values = torch.randn(3, IN, generator=torch.Generator().manual_seed(2))
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(weights.clone(), requires_grad=False)
    method = half_weights.CpuLinearMethod()
    method.process_weights_after_loading(layer)
    assert layer.weight.numel() == 0
    assert torch.allclose(method.apply(layer, values), functional.linear(values, weights), atol=1e-5)
