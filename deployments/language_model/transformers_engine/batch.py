"""A left-padded batch that rows join and leave, so that one transformers forward runs rows of all lengths."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache


class RowBatch:
    """The KV cache and the last hidden states of the rows that are being decoded."""

    def __init__(self, model: Any) -> None:
        """`model` is a transformers decoder without its output layer."""
        self._model = model
        self._cache: DynamicCache | None = None
        self._mask = torch.zeros(0, 0, dtype=torch.int64, device=model.device)
        """[rows, length]: 1 for tokens, 0 for the padding on the left."""
        self.hidden = torch.zeros(0, 0, device=model.device)
        """[rows, hidden] at each row's last token."""

    def __len__(self) -> int:
        return len(self._mask)

    def join(self, prompt: list[int]) -> None:
        """Run `prompt` and append it as a row."""
        row = RowBatch(self._model)
        row._mask = self._tensor([[1] * len(prompt)])
        row._forward(self._tensor([prompt]), DynamicCache(config=self._model.config))
        if len(self) == 0:
            self._cache, self._mask, self.hidden = row._cache, row._mask, row.hidden
            return
        length = max(self._mask.shape[1], row._mask.shape[1])
        self._pad_to(length)
        row._pad_to(length)
        for layer, other in zip(self._layers(), row._layers(), strict=True):
            layer.keys = torch.cat([layer.keys, other.keys])
            layer.values = torch.cat([layer.values, other.values])
        self._mask = torch.cat([self._mask, row._mask])
        self.hidden = torch.cat([self.hidden, row.hidden])

    def advance(self, tokens: Sequence[int]) -> None:
        """Append a token to each row and run the tokens."""
        self._mask = functional.pad(self._mask, (0, 1), value=1)
        self._forward(self._tensor([[token] for token in tokens]), self._cache)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows, and the padding that no row needs any longer."""
        index = self._tensor(rows)
        self._mask, self.hidden = self._mask[index], self.hidden[index]
        first = int(self._mask.any(dim=0).int().argmax()) if rows else 0
        self._mask = self._mask[:, first:]
        for layer in self._layers():
            layer.keys = layer.keys[index, :, first:]
            layer.values = layer.values[index, :, first:]

    def _forward(self, ids: Tensor, cache: DynamicCache | None) -> None:
        positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self._model(
            input_ids=ids,
            # Without padding no mask is needed, and the mask of a long prompt would be large.
            attention_mask=None if self._mask.all() else self._mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        self._cache = output.past_key_values
        self.hidden = output.last_hidden_state[:, -1]

    def _pad_to(self, length: int) -> None:
        missing = length - self._mask.shape[1]
        self._mask = functional.pad(self._mask, (missing, 0))
        for layer in self._layers():
            layer.keys = functional.pad(layer.keys, (0, 0, missing, 0))
            layer.values = functional.pad(layer.values, (0, 0, missing, 0))

    def _layers(self) -> list[Any]:
        return list(self._cache.layers) if self._cache is not None else []

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._model.device)
