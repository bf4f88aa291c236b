"""Attention over packed rows: each row attends to itself only.

`attention_for` chooses the implementation for a device: `FlashAttention` is one kernel for a whole batch on
newer NVIDIA GPUs, and `SegmentedAttention` works everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

_FLASH_CAPABILITY = (8, 0)
"""Lowest compute capability of torch's flash kernel: Ampere, of 2020."""
_FLASH_DTYPES = (torch.bfloat16, torch.float16)


class RowAttention(Protocol):
    """Scaled dot-product attention within each row of one batch."""

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, windowed: bool = False
    ) -> torch.Tensor:
        """The attention output [queries, heads, head_dim].

        `query` is [queries, heads, head_dim]; `key` and `value` are [keys, kv_heads, head_dim]. With
        `windowed` a token attends to tokens within the window only; each row's keys and queries are then the
        same tokens.
        """


class PackedAttention(Protocol):
    """An implementation of attention over packed rows."""

    def of_rows(self, lengths: Sequence[tuple[int, int]]) -> RowAttention:
        """The attention of rows with (queries, keys) tokens each, in their packed order.

        Everything that depends on the lengths alone is computed here, once for all layers and steps.
        """


def attention_for(device: torch.device, dtype: torch.dtype, window: int) -> PackedAttention:
    """The fastest attention for `dtype` on `device`; `window` is the reach of windowed layers in tokens."""
    if device.type == "cuda" and dtype in _FLASH_DTYPES and _has_flash(device):
        return FlashAttention(window, device)
    return SegmentedAttention(window, device, dtype)


def _has_flash(device: torch.device) -> bool:
    return (
        torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(device) >= _FLASH_CAPABILITY
    )


class FlashAttention:
    """One call of torch's flash kernel for variable lengths per batch.

    The operator is called directly, not through torch.nn.attention.varlen.varlen_attn, for two reasons: that
    function is written in Python and fills a tensor in each of the 48 calls of a step; and fewer key/value
    heads than query heads need an argument in torch 2.13 that torch 2.11 does not have.
    """

    def __init__(self, window: int, device: torch.device) -> None:
        self._window = window
        self._device = device

    def of_rows(self, lengths: Sequence[tuple[int, int]]) -> "FlashRows":
        queries, keys = zip(*lengths, strict=True)
        return FlashRows(self._window, self._offsets(queries), self._offsets(keys), max(queries), max(keys))

    def _offsets(self, lengths: Sequence[int]) -> torch.Tensor:
        return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=self._device)


@dataclass(frozen=True)
class FlashRows:
    """The flash kernel's description of a batch."""

    window: int
    query_offsets: torch.Tensor
    """[rows + 1], int32: index of each row's first query, and the end of the last row."""
    key_offsets: torch.Tensor
    longest_queries: int
    longest_keys: int

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, windowed: bool = False
    ) -> torch.Tensor:
        reach = self.window if windowed else -1  # tokens on each side; -1 means all
        found: torch.Tensor = torch.ops.aten._flash_attention_forward(
            query,
            key,
            value,
            self.query_offsets,
            self.key_offsets,
            self.longest_queries,
            self.longest_keys,
            0.0,  # no dropout
            False,  # not causal
            False,  # no mask for debugging
            window_size_left=reach,
            window_size_right=reach,
        )[0]
        return found


@dataclass(frozen=True)
class Segment:
    """Neighbouring rows of equal length, whose attention is one call."""

    rows: int
    queries: slice
    """The rows' part of all queries."""
    keys: slice
    """The rows' part of all keys."""


def segments_of(lengths: Sequence[tuple[int, int]]) -> tuple[Segment, ...]:
    """Segments for rows with (queries, keys) tokens each; equal neighbours share a segment."""
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


class SegmentedAttention:
    """torch's scaled_dot_product_attention, called for each length; in windowed layers for each block."""

    def __init__(self, window: int, device: torch.device, dtype: torch.dtype) -> None:
        self._window = window
        block = torch.arange(2 * window, device=device)[:, None]
        around = torch.arange(-window, 3 * window, device=device)
        outside = (block - around).abs() > window
        self._band = torch.zeros(outside.shape, device=device, dtype=dtype).masked_fill(
            outside, torch.finfo(dtype).min
        )
        """[2 * window, 4 * window]: mask for a block of queries and the keys around it."""

    def of_rows(self, lengths: Sequence[tuple[int, int]]) -> "SegmentedRows":
        return SegmentedRows(self._window, self._band, segments_of(lengths))


@dataclass(frozen=True)
class SegmentedRows:
    """A batch as segments of rows of equal length."""

    window: int
    band: torch.Tensor
    segments: tuple[Segment, ...]

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, windowed: bool = False
    ) -> torch.Tensor:
        attend = self._near if windowed else _everywhere
        found = []
        for segment in self.segments:
            q = _heads_first(query[segment.queries], segment.rows)
            k = _heads_first(key[segment.keys], segment.rows)
            v = _heads_first(value[segment.keys], segment.rows)
            found.append(attend(q, k, v).transpose(1, 2).flatten(0, 1))
        return found[0] if len(found) == 1 else torch.cat(found)

    def _near(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Windowed attention in blocks; its cost is linear in the length of the song, not quadratic."""
        length, window = query.shape[2], self.window
        if length <= window + 1:
            return _everywhere(query, key, value)
        blocks = []
        for start in range(0, length, 2 * window):
            stop = min(start + 2 * window, length)
            first, last = max(start - window, 0), min(stop + window, length)
            band = self.band[: stop - start, first - start + window : last - start + window]
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
