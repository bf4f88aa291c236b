"""What the DiT does to single numbers and vectors, in fewer passes over memory than the modules make."""

from typing import Any

import torch


def unit(vectors: torch.Tensor, eps: float) -> torch.Tensor:
    """Vectors [..., width] divided by their root mean square: RMSNorm without its weight."""
    length: torch.Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=torch.float32)
    inverse = length.square_().div_(vectors.shape[-1]).add_(eps).rsqrt_()
    return (vectors * inverse).to(vectors.dtype)


def normed(vectors: torch.Tensor, norm: Any) -> torch.Tensor:
    """RMSNorm of vectors [..., width]."""
    return unit(vectors, norm.eps).mul_(norm.weight)


def modulated(hidden: torch.Tensor, norm: Any, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """RMSNorm of [tokens, hidden] and the modulation after it."""
    return torch.addcmul(shift, unit(hidden, norm.eps), norm.weight * (1 + scale))


def rotated(tokens: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """`tokens` [tokens, heads, head_dim] turned by their places: apply_rotary_emb."""
    cos, sin = (table[:, None] for table in rotary)
    wide = tokens.float()
    first, second = wide.chunk(2, dim=-1)
    turned = wide * cos
    half = first.shape[-1]
    turned[..., :half].addcmul_(second, sin[..., :half], value=-1)
    turned[..., half:].addcmul_(first, sin[..., half:])
    return turned.to(tokens.dtype)
