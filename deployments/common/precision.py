"""The dtype in which an engine computes."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from configs.settings import Device, DType


def engine_dtype(setting: "DType", device: "Device") -> torch.dtype:
    """The dtype of a setting. `auto` is bfloat16, or float32 on a CPU without bfloat16 instructions."""
    if setting == "auto":
        setting = "bfloat16" if device == "cuda" or _processor_multiplies_bfloat16() else "float32"
    chosen: torch.dtype = getattr(torch, setting)
    return chosen


def _processor_multiplies_bfloat16() -> bool:
    # Capabilities as torch names them: AVX-512 BF16 or AMX on x86, BF16 on ARM.
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
