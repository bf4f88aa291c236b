"""Guidance and sampling inside vLLM.

vLLM passes the logits of all rows of a step. The two rows of a guided run are combined, `sampling.draw` draws
one token, and both rows are forced to it: the forced token is the one that vLLM's greedy sampler picks.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from deployments.language_model.sampling import Drawing, guide
from deployments.language_model.vllm_engine.run_row import RunRow
from deployments.language_model.vllm_engine.step_range import announce


@dataclass(frozen=True)
class _BatchRow:
    row: RunRow
    output_ids: list[int]
    """vLLM's own list, which grows with every step."""


@dataclass(frozen=True)
class _Draw:
    """One token to be drawn, for one or two rows of the batch."""

    conditional: int
    unconditional: int | None
    batch_row: _BatchRow


class GuidanceProcessor(LogitsProcessor):
    """vLLM logits processor (V1 interface) for requests that carry a RunRow; others are left unchanged."""

    def __init__(self, *_: Any) -> None:
        self._rows: dict[int, _BatchRow] = {}
        self._groups: list[_Group] | None = None
        """The groups of the current rows; None until they are made."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raises ValueError if vLLM's own sampling or stopping would act on one row of a pair."""
        if RunRow.of(sampling_params) and (
            sampling_params.temperature != 0 or sampling_params.stop or sampling_params.n != 1
        ):
            raise ValueError(
                "a run is sampled by the guidance processor: temperature 0, no stop strings, n 1"
            )

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Update the rows after they were added to, removed from or moved in vLLM's batch."""
        if process_dict_updates(self._rows, batch_update, _batch_row):
            self._groups = None
            ranges = frozenset(range(one.row.first_id, one.row.end_id) for one in self._rows.values())
            announce(len(self._rows), ranges)

    def apply(self, logits: Tensor) -> Tensor:
        """Force a token on each row of `logits` [rows, vocabulary]."""
        if self._groups is None:
            self._groups = _groups(self._rows, logits.device)
        for group in self._groups:
            # vLLM's argmax picks +inf, whatever the rest of the row is.
            logits[group.rows, group.draw(logits)[group.draw_of_row]] = torch.inf
        return logits


class _Group:
    """Draws from one range of tokens, with their indices on the device. Valid until the rows change."""

    def __init__(self, draws: Sequence[_Draw], first_id: int, end_id: int, device: torch.device) -> None:
        def on_device(values: Sequence[Any]) -> Tensor:
            return torch.tensor(values, device=device)

        pairs = [(place, one) for place, one in enumerate(draws) if one.unconditional is not None]
        guided = [place for place, _ in pairs]
        conditional = [one.conditional for one in draws]
        unconditional = [one.unconditional for _, one in pairs]
        samplings = [one.batch_row.row.sampling for one in draws]
        self._columns = slice(first_id, end_id)
        self._generated = [one.batch_row.output_ids for one in draws]
        """vLLM's own lists of the rows' tokens, which grow with every step."""
        self._conditional = on_device(conditional)
        """[draws]: the conditional row of each draw in the batch."""
        self._guided = on_device(guided) if 0 < len(guided) < len(draws) else None
        """[guided draws]: indices of the draws that are guided; None if all or none are."""
        self._unconditional = on_device(unconditional) if guided else None
        """[guided draws]: their unconditional rows in the batch; None if there are none."""
        self._scales = on_device([[samplings[place].cfg_scale] for place in guided])
        """[guided draws, 1]: their guidance scales."""
        self._drawing = Drawing(samplings, end_id - first_id, device, first_id)
        self.rows = on_device(conditional + unconditional)
        """[rows of all draws]: their indices in the batch."""
        self.draw_of_row = on_device([*range(len(draws)), *guided])
        """[rows of all draws]: the draw whose token each of `rows` is forced to."""

    def draw(self, logits: Tensor) -> Tensor:
        """The drawn token ids [draws]."""
        chosen = logits[self._conditional, self._columns]
        if self._unconditional is not None:
            other = logits[self._unconditional, self._columns]
            if self._guided is None:
                chosen = guide(chosen, other, self._scales)
            else:
                chosen[self._guided] = guide(chosen[self._guided], other, self._scales)
        return self._drawing.tokens(chosen, self._generated) + self._columns.start


def _batch_row(params: Any, _prompt_ids: list[int] | None, output_ids: list[int]) -> _BatchRow | None:
    row = RunRow.of(params)
    return _BatchRow(row, output_ids) if row else None


def _groups(rows: dict[int, _BatchRow], device: torch.device) -> list[_Group]:
    by_range: dict[tuple[int, int], list[_Draw]] = defaultdict(list)
    for one in _draws(rows):
        by_range[one.batch_row.row.first_id, one.batch_row.row.end_id].append(one)
    return [_Group(draws, *limits, device) for limits, draws in by_range.items()]


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
