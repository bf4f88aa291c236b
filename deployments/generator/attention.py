"""Attention over rows laid end to end: each row sees itself only."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Segment:
    """Neighbouring rows of one length, whose attention is one call."""

    rows: int
    queries: slice
    """Their tokens among all queries."""
    keys: slice
    """Their tokens among all keys."""


def segments_of(lengths: Sequence[tuple[int, int]]) -> tuple[Segment, ...]:
    """Segments of rows with (queries, keys) tokens each; equal neighbours share one."""
    segments = []
    row = query = key = 0
    while row < len(lengths):
        rows = 1
        while row + rows < len(lengths) and lengths[row + rows] == lengths[row]:
            rows += 1
        queries, keys = lengths[row]
        segments.append(Segment(rows, slice(query, query + rows * queries), slice(key, key + rows * keys)))
        row, query, key = row + rows, query + rows * queries, key + rows * keys
    return tuple(segments)


class PackedAttention:
    """Scaled dot-product attention, full or limited to tokens at most `window` away."""

    def __init__(self, window: int, device: torch.device, dtype: torch.dtype) -> None:
        self._window = window
        block = torch.arange(2 * window, device=device)[:, None]
        around = torch.arange(-window, 3 * window, device=device)
        outside = (block - around).abs() > window
        self._band = torch.zeros(outside.shape, device=device, dtype=dtype).masked_fill(
            outside, torch.finfo(dtype).min
        )
        """[2 * window, 4 * window]: what a block of queries adds to its scores with the keys around it."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        segments: Sequence[Segment],
        windowed: bool = False,
    ) -> torch.Tensor:
        """[queries, heads, head_dim] and twice [keys, kv_heads, head_dim] -> [queries, heads * head_dim]."""
        attend = self._near if windowed else _everywhere
        found = []
        for segment in segments:
            q = _heads_first(query[segment.queries], segment.rows)
            k = _heads_first(key[segment.keys], segment.rows)
            v = _heads_first(value[segment.keys], segment.rows)
            found.append(attend(q, k, v).transpose(1, 2).flatten(2).flatten(0, 1))
        return found[0] if len(found) == 1 else torch.cat(found)

    def _near(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Block by block, so that long songs cost what they are long, not its square."""
        length, window = query.shape[2], self._window
        if length <= window + 1:
            return _everywhere(query, key, value)
        blocks = []
        for start in range(0, length, 2 * window):
            stop = min(start + 2 * window, length)
            first, last = max(start - window, 0), min(stop + window, length)
            band = self._band[: stop - start, first - start + window : last - start + window]
            near = slice(first, last)
            blocks.append(_everywhere(query[:, :, start:stop], key[:, :, near], value[:, :, near], band))
        return torch.cat(blocks, dim=2)


def _everywhere(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, enable_gqa=query.shape[1] != key.shape[1]
    )


def _heads_first(tokens: torch.Tensor, rows: int) -> torch.Tensor:
    """[rows * length, heads, head_dim] -> [rows, heads, length, head_dim]"""
    return tokens.reshape(rows, -1, *tokens.shape[1:]).transpose(1, 2)
