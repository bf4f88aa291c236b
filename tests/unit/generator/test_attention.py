import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from deployments.generator.attention import PackedAttention, Segment, segments_of

WINDOW = 8
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 8


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
    attend = PackedAttention(WINDOW, query.device, query.dtype)
    found = attend(query, key, value, segments_of([(n, n) for n in lengths]), windowed)
    parts = (tensor.split(lengths) for tensor in (query, key, value))
    expected = torch.cat([alone(*row, WINDOW if windowed else None) for row in zip(*parts, strict=True)])
    torch.testing.assert_close(found, expected)


def test_queries_and_keys_may_differ_in_number() -> None:
    query, key = torch.randn(7, HEADS, HEAD_DIM), torch.randn(4, KV_HEADS, HEAD_DIM)
    attend = PackedAttention(WINDOW, query.device, query.dtype)
    found = attend(query, key, key, segments_of([(5, 3), (2, 1)]))
    expected = torch.cat([alone(query[:5], key[:3], key[:3]), alone(query[5:], key[3:], key[3:])])
    torch.testing.assert_close(found, expected)


def alone(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None = None
) -> torch.Tensor:
    """One row with a dense mask, as diffusers does it."""
    distance = (torch.arange(len(query))[:, None] - torch.arange(len(key))).abs()
    mask = None if window is None else distance <= window
    q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    found = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    return found[0].transpose(0, 1).flatten(1)
