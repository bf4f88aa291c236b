"""Guidance and sampling inside vLLM.

vLLM hands over the logits of every row of a step. The two rows of a guided run are combined, one token is
drawn by `sampling.draw`, and both rows are forced to it: vLLM's own, greedy sampler picks what is forced.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from deployments.language_model.run_row import RunRow
from deployments.language_model.sampling import draw, guide
from deployments.language_model.step_range import announce


@dataclass(frozen=True)
class _BatchRow:
    row: RunRow
    output_ids: list[int]
    """vLLM's own list: it grows with every step."""


@dataclass(frozen=True)
class _Draw:
    """One token to be drawn: for one row of the batch, or for two."""

    conditional: int
    unconditional: int | None
    batch_row: _BatchRow


class GuidanceProcessor(LogitsProcessor):
    """vLLM logits processor (V1 interface) for requests that carry a RunRow; others pass untouched."""

    def __init__(self, *_: Any) -> None:
        self._rows: dict[int, _BatchRow] = {}
        self._draws: list[_Draw] = []

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse what would let vLLM's own sampling or stopping act on one row of a pair."""
        if RunRow.of(sampling_params) and (
            sampling_params.temperature != 0 or sampling_params.stop or sampling_params.n != 1
        ):
            raise ValueError(
                "a run is sampled by the guidance processor: temperature 0, no stop strings, n 1"
            )

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the rows of vLLM's batch as they come, go and move."""
        if process_dict_updates(self._rows, batch_update, _batch_row):
            self._draws = _draws(self._rows)
            ranges = {range(one.row.first_id, one.row.end_id) for one in self._rows.values()}
            announce(len(self._rows), ranges.pop() if len(ranges) == 1 else None)

    def apply(self, logits: Tensor) -> Tensor:
        """Force a token on each row of `logits` [rows, vocabulary]."""
        by_range: dict[tuple[int, int], list[_Draw]] = defaultdict(list)
        for one in self._draws:
            by_range[one.batch_row.row.first_id, one.batch_row.row.end_id].append(one)
        for (first_id, end_id), draws in by_range.items():
            tokens = _draw(logits, draws, first_id, end_id) + first_id
            for rows, targets in _forced(draws, tokens):
                # +inf wins vLLM's argmax whatever the rest of the row is.
                logits[rows, targets] = torch.inf
        return logits


def _batch_row(params: Any, _prompt_ids: list[int] | None, output_ids: list[int]) -> _BatchRow | None:
    row = RunRow.of(params)
    return _BatchRow(row, output_ids) if row else None


def _draws(rows: dict[int, _BatchRow]) -> list[_Draw]:
    unconditional = {one.row.run: index for index, one in rows.items() if one.row.unconditional}
    draws = [
        _Draw(index, unconditional.pop(one.row.run, None), one)
        for index, one in rows.items()
        if not one.row.unconditional
    ]
    alone = [one.batch_row.row.run for one in draws if one.batch_row.row.guided and one.unconditional is None]
    if alone or unconditional:
        raise RuntimeError(f"guided runs came apart in the batch: {[*alone, *unconditional]}")
    return draws


def _draw(logits: Tensor, draws: Sequence[_Draw], first_id: int, end_id: int) -> Tensor:
    chosen = logits[[one.conditional for one in draws], first_id:end_id]
    guided = [place for place, one in enumerate(draws) if one.unconditional is not None]
    if guided:
        others = logits[[draws[place].unconditional for place in guided], first_id:end_id]
        scales = [[draws[place].batch_row.row.sampling.cfg_scale] for place in guided]
        chosen[guided] = guide(chosen[guided], others, torch.tensor(scales, device=logits.device))
    generated = [[token - first_id for token in one.batch_row.output_ids] for one in draws]
    return draw(chosen, [one.batch_row.row.sampling for one in draws], generated)


def _forced(draws: Sequence[_Draw], tokens: Tensor) -> list[tuple[list[int], Tensor]]:
    pairs = [place for place, one in enumerate(draws) if one.unconditional is not None]
    return [
        ([one.conditional for one in draws], tokens),
        ([row for one in draws if (row := one.unconditional) is not None], tokens[pairs]),
    ]
