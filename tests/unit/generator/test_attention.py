import random
from collections.abc import Iterator

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.flash_on_cpu import flash_kernel_on_cpu
from deployments.generator.attention import (
    FlashAttention,
    Segment,
    SegmentedAttention,
    attention_for,
    segments_of,
)

WINDOW = 8
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 8
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread_and_flash_kernel() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with flash_kernel_on_cpu():
        yield
    torch.set_num_threads(before)


def segmented() -> SegmentedAttention:
    return SegmentedAttention(WINDOW, CPU, torch.float32)


def test_neighbours_of_one_length_share_a_segment() -> None:
    assert segments_of([(3, 5), (3, 5), (3, 4), (2, 4)]) == (
        Segment(2, slice(0, 6), slice(0, 10)),
        Segment(1, slice(6, 9), slice(10, 14)),
        Segment(1, slice(9, 11), slice(14, 18)),
    )


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("length", [1, 8, 9, 10, 16, 17, 33, 100])
def test_each_row_attends_to_itself_as_if_it_were_alone(length: int, windowed: bool) -> None:
    lengths = [5, length, length, 40]
    query, key, value = (torch.randn(sum(lengths), heads, HEAD_DIM) for heads in (HEADS, KV_HEADS, KV_HEADS))
    found = segmented().of_rows([(n, n) for n in lengths])(query, key, value, windowed)
    parts = (tensor.split(lengths) for tensor in (query, key, value))
    expected = torch.cat([alone(*row, WINDOW if windowed else None) for row in zip(*parts, strict=True)])
    torch.testing.assert_close(found, expected)


def test_queries_and_keys_may_differ_in_number() -> None:
    query, key = torch.randn(7, HEADS, HEAD_DIM), torch.randn(4, KV_HEADS, HEAD_DIM)
    found = segmented().of_rows([(5, 3), (2, 1)])(query, key, key)
    expected = torch.cat([alone(query[:5], key[:3], key[:3]), alone(query[5:], key[3:], key[3:])])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("seed", range(50))
def test_the_flash_kernels_arguments_mean_the_same_packing(seed: int) -> None:
    """On a CPU plain operations replace the kernel. The kernel itself needs a GPU."""
    rng = random.Random(seed)
    rows = rng.randint(1, 9)
    among_themselves = [(n, n) for n in sorted(rng.randint(1, 60) for _ in range(rows))]
    towards_conditions = [(n, rng.randint(1, 30)) for n, _ in among_themselves]
    flash = FlashAttention(WINDOW, CPU)
    for lengths, windowed in (
        (among_themselves, False),
        (among_themselves, True),
        (towards_conditions, False),
    ):
        queries, keys = map(sum, zip(*lengths, strict=True))
        query = torch.randn(queries, HEADS, HEAD_DIM)
        key, value = torch.randn(2, keys, KV_HEADS, HEAD_DIM)
        found = flash.of_rows(lengths)(query, key, value, windowed)
        torch.testing.assert_close(found, segmented().of_rows(lengths)(query, key, value, windowed))


def test_a_cpu_has_no_flash_kernel() -> None:
    assert isinstance(attention_for(CPU, torch.bfloat16, WINDOW), SegmentedAttention)


def alone(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None = None
) -> torch.Tensor:
    """Compute one row with a dense mask, as diffusers does."""
    distance = (torch.arange(len(query))[:, None] - torch.arange(len(key))).abs()
    mask = None if window is None else distance <= window
    q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    found = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    return found[0].transpose(0, 1)
