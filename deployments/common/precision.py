"""The number type that an engine computes in."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from configs.settings import Device, DType


def engine_dtype(setting: "DType", device: "Device") -> torch.dtype:
    """The type of a setting. `auto` is bfloat16, but float32 on a processor that would have to imitate it."""
    if setting == "auto":
        setting = "bfloat16" if device == "cuda" or _processor_multiplies_bfloat16() else "float32"
    chosen: torch.dtype = getattr(torch, setting)
    return chosen


def _processor_multiplies_bfloat16() -> bool:
    # By torch's own look at the processor: x86 with AVX-512 BF16 or AMX, ARM with BF16.
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
