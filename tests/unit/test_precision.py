"""The number type in which an engine computes."""

import pytest
import torch

from deployments.common.precision import engine_dtype


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx2": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    assert engine_dtype("auto", "cpu") == dtype
    assert engine_dtype("auto", "cuda") == torch.bfloat16
    assert engine_dtype("float16", "cpu") == torch.float16


def test_torch_names_the_capabilities_that_are_asked_for() -> None:
    """If a later torch renamed them, `auto` would become float32 everywhere."""
    known = torch.cpu.get_capabilities()
    if known["architecture"] != "x86_64":
        pytest.skip("another architecture")
    assert {"avx512_bf16", "amx_bf16"} <= known.keys()
