"""Computes the results of torch's flash kernel for variable lengths with plain operations on a CPU.

torch has that kernel for GPUs only. Here its operator gets an implementation for CPUs, so that calls use the
real operator with its real schema. The implementation follows the documentation of flash attention: row i has
the queries [q[i], q[i + 1]) and the keys [k[i], k[i + 1]) of the offsets q and k; query j of n sees the keys
from j + m - n - left to j + m - n + right of m; -1 on a side is no limit. It proves nothing about the kernel
itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.library import Library


@contextmanager
def flash_kernel_on_cpu(compute: bool = True) -> Iterator[None]:
    """Let aten::_flash_attention_forward accept CPU tensors inside the block.

    Without `compute`, the operator returns uninitialised memory.
    """
    kernel: Callable[..., Any] = _forward if compute else _unwritten
    library: Any = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("_flash_attention_forward", kernel, "CPU")
    try:
        yield
    finally:
        library._destroy()


def _answer(found: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the operator's five results. The callers here use the first."""
    empty = torch.empty(0)
    return found, empty, torch.empty(2, dtype=torch.uint64), torch.empty((), dtype=torch.uint64), empty


def _unwritten(query: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
    return _answer(torch.empty_like(query))


def _forward(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_offsets: torch.Tensor,
    key_offsets: torch.Tensor,
    longest_queries: int,
    longest_keys: int,
    dropout: float,
    causal: bool,
    debug_mask: bool,
    *,
    scale: float | None = None,
    window_size_left: int | None = None,
    window_size_right: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, ...]:
    assert (dropout, causal, debug_mask, scale) == (0.0, False, False, None)
    assert not any(value is not None for value in rest.values())
    for offsets, longest, tokens in (
        (query_offsets, longest_queries, query),
        (key_offsets, longest_keys, key),
    ):
        assert offsets.dtype == torch.int32  # The kernel reads offsets of this type only.
        assert offsets[0] == 0
        assert offsets[-1] == len(tokens)
        assert offsets.diff().max() == longest
    left = -1 if window_size_left is None else window_size_left
    right = -1 if window_size_right is None else window_size_right
    found = torch.empty_like(query)
    group = query.shape[1] // key.shape[1]
    for row in range(len(query_offsets) - 1):
        rows = slice(int(query_offsets[row]), int(query_offsets[row + 1]))
        seen = slice(int(key_offsets[row]), int(key_offsets[row + 1]))
        q = query[rows].double()
        k, v = (tokens[seen].double().repeat_interleave(group, dim=1) for tokens in (key, value))
        scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
        query_index = torch.arange(len(q))[:, None] + len(k) - len(q)
        at = torch.arange(len(k))
        hidden = torch.zeros(len(q), len(k), dtype=torch.bool)
        if left >= 0:
            hidden |= at < query_index - left
        if right >= 0:
            hidden |= at > query_index + right
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        found[rows] = torch.einsum("hqk,khd->qhd", weights, v).to(query.dtype)
    return _answer(found)
