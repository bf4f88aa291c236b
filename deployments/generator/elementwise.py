"""Elementwise operations of the DiT, in fewer passes over memory than the modules need."""

import torch


def unit(vectors: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm of vectors [..., width] without a weight: each is divided by its root mean square."""
    length: torch.Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=torch.float32)
    inverse = length.square_().div_(vectors.shape[-1]).add_(eps).rsqrt_()
    return (vectors * inverse).to(vectors.dtype)


def normed(vectors: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm of vectors [..., width]."""
    return unit(vectors, eps).mul_(weight)


def rotated(tokens: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary position embedding of `tokens` [tokens, heads, head_dim]: diffusers' apply_rotary_emb."""
    cos, sin = (table[:, None] for table in rotary)
    wide = tokens.float()
    first, second = wide.chunk(2, dim=-1)
    turned = wide * cos
    half = first.shape[-1]
    turned[..., :half].addcmul_(second, sin[..., :half], value=-1)
    turned[..., half:].addcmul_(first, sin[..., half:])
    return turned.to(tokens.dtype)
