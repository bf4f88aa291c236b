"""Weights in float16 give the products of the same weights in float32, or are not used."""

import pytest
import torch
from torch.nn import functional

from deployments.language_model.vllm_engine.half_weights import CpuLinearMethod, half_product

OUT, IN = 1500, 320


def bfloat16_weights(scale: float) -> torch.Tensor:
    """Float32 weights that were stored as bfloat16; a seventh of the rows is next to zero."""
    weights = torch.randn(OUT, IN, generator=torch.Generator().manual_seed(1)) * scale
    weights[::7] *= 1e-4
    return weights.bfloat16().float()


@pytest.mark.parametrize("scale", [0.02, 1e-6, 1e6])
@pytest.mark.parametrize("rows", [1, 2, 13, 64])
def test_products_are_those_of_float32_up_to_rounding(rows: int, scale: float) -> None:
    weights = bfloat16_weights(scale)
    values = torch.randn(rows, IN, generator=torch.Generator().manual_seed(2))
    product = half_product(weights)
    assert product is not None
    expected = functional.linear(values.double(), weights.double())
    errors = (product(values, torch.empty(0), None) - expected).abs().amax(dim=0)
    rounding = (functional.linear(values, weights) - expected).abs().amax(dim=0)
    for one in (slice(0, None, 7), slice(1, None, 7)):  # small and usual rows of the weights
        assert errors[one].max() <= 4 * rounding[one].max()
    bias = torch.arange(OUT).float()
    assert torch.equal(product(values, torch.empty(0), bias), product(values, torch.empty(0), None) + bias)


def test_weights_that_would_lose_digits_stay_as_they_are() -> None:
    assert half_product(bfloat16_weights(0.02) * 1.001) is None
    last = bfloat16_weights(0.02)
    last[-1, -1] = 0.010001
    assert half_product(last) is None
    last[-1, -1] = torch.nan
    assert half_product(last) is None


def test_other_types_stay_as_they_are() -> None:
    assert half_product(bfloat16_weights(0.02).bfloat16()) is None


@pytest.mark.parametrize("lossless", [True, False])
def test_a_layer_gives_its_weights_up_and_computes_as_before(lossless: bool) -> None:
    weights = bfloat16_weights(0.02) * (1.0 if lossless else 1.001)
    values = torch.randn(3, IN, generator=torch.Generator().manual_seed(2))
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(weights.clone(), requires_grad=False)
    method = CpuLinearMethod()
    method.process_weights_after_loading(layer)
    assert layer.weight.numel() == 0
    assert torch.allclose(method.apply(layer, values), functional.linear(values, weights), atol=1e-5)
