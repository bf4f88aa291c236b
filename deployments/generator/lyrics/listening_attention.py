"""Cross-attention that remembers, in a few heads, how strongly each query attends to some of its keys."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from deployments.generator.attention import RowAttention


@dataclass(frozen=True)
class ListenedRow:
    """One row of the batch."""

    queries: slice
    """The row's part of all queries."""
    keys: slice
    """The row's part of all keys."""


class ListeningAttention:
    """A `RowAttention` of one batch. It is called once for each layer, in order, and answers as another does.

    The fast implementations never hold the probabilities, so they are computed anew for the chosen heads.
    """

    def __init__(
        self,
        attention: RowAttention,
        rows: Sequence[ListenedRow],
        heads: Collection[tuple[int, int]],
        heard: slice,
    ) -> None:
        """`heads` are pairs (layer, head), and `heard` is the part of each row's keys that is remembered."""
        self._attention = attention
        self._rows = rows
        self._heads = sorted(heads)
        self._heard = heard
        self._layer = 0
        self._found: list[list[torch.Tensor]] = [[] for _ in rows]

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, windowed: bool = False
    ) -> torch.Tensor:
        for layer, head in self._heads:
            if layer == self._layer:
                self._listen(query[:, head], key[:, head // (query.shape[1] // key.shape[1])])
        self._layer += 1
        return self._attention(query, key, value, windowed)

    def found(self) -> list[torch.Tensor]:
        """For each row, the probabilities [heads, heard keys, queries] in float32, on the CPU."""
        return [torch.stack(heads) for heads in self._found]

    def _listen(self, query: torch.Tensor, key: torch.Tensor) -> None:
        """`query` is [queries, head_dim] of one head, and `key` is [keys, head_dim] of the keys it sees."""
        for row, found in zip(self._rows, self._found, strict=True):
            similar = query[row.queries].float() @ key[row.keys].float().T
            probabilities = torch.softmax(similar / math.sqrt(query.shape[1]), dim=-1)
            # A copy, because a view would keep the probabilities of all keys in memory. It leaves a GPU at
            # once: of a long song with long lyrics a head has 60 MB.
            found.append(probabilities[:, self._heard].T.contiguous().cpu())
