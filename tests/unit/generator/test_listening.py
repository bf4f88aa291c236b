"""The attention that is remembered is the one that the model pays, for any rows, heads and layers."""

import pytest
import torch

from deployments.generator.attention import SegmentedAttention
from deployments.generator.lyrics.listening_attention import ListenedRow, ListeningAttention

HEADS, KV_HEADS, WIDTH = 4, 2, 8
LENGTHS = [(5, 7), (9, 6)]
"""(queries, keys) of each row."""
ROWS = [ListenedRow(slice(0, 5), slice(0, 7)), ListenedRow(slice(5, 14), slice(7, 13))]


def drawn(layers: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return [(torch.randn(14, HEADS, WIDTH), torch.randn(13, KV_HEADS, WIDTH)) for _ in range(layers)]


def test_each_row_attends_to_the_keys_of_its_own_condition() -> None:
    """With the unit vectors as values, the output of attention is the probabilities themselves."""
    attention = SegmentedAttention(4, torch.device("cpu"), torch.float32).of_rows(LENGTHS)
    heads = [(0, 1), (2, 0), (2, 3)]
    listening = ListeningAttention(attention, ROWS, heads, heard=slice(1, 5))
    outputs = []
    for query, key in drawn(layers=3):
        units = torch.cat([torch.eye(keys, WIDTH) for _, keys in LENGTHS])[:, None].expand(-1, KV_HEADS, -1)
        outputs.append(listening(query, key, units))
        assert torch.equal(outputs[-1], attention(query, key, units))
    for row, found in zip(ROWS, listening.found(), strict=True):
        expected = torch.stack([outputs[layer][row.queries, head, 1:5].T for layer, head in heads])
        assert found.shape == (3, 4, row.queries.stop - row.queries.start)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probabilities_are_computed_in_full_precision(dtype: torch.dtype) -> None:
    attention = SegmentedAttention(4, torch.device("cpu"), dtype).of_rows(LENGTHS)
    listening = ListeningAttention(attention, ROWS, [(0, 0)], heard=slice(0, 6))
    ((query, key),) = drawn(layers=1)
    listening(query.to(dtype), key.to(dtype), key.to(dtype))
    for found, (_, keys) in zip(listening.found(), LENGTHS, strict=True):
        assert found.dtype is torch.float32
        if keys == 6:
            torch.testing.assert_close(found.sum(dim=1), torch.ones(1, found.shape[2]))
