"""From logits to tokens. All backends use this sampling code.

The order is: guidance in float32, mask, repetition penalty, temperature, top-k, top-p, draw. The draw of a
row depends only on its logits, its seed and its step, and so not on the other rows of the batch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deployments.common.messages import Sampling

_MASK64 = (1 << 64) - 1
_MIN_TEMPERATURE = 1e-6
"""Smallest temperature used. Draws are practically greedy at it, and lower ones would overflow float32."""


def guide(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Classifier-free guidance: `uncond + scale · (cond − uncond)` in float32.

    `conditional` and `unconditional` are [rows, tokens], `scale` is [rows, 1]. A token that is masked (-inf)
    in one of the two stays masked.
    """
    conditional, unconditional = conditional.float(), unconditional.float()
    guided = unconditional + scale * (conditional - unconditional)
    # Where the formula meets a masked token, it gives -inf or NaN.
    return guided.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def draw(
    logits: Tensor, samplings: Sequence[Sampling], generated: Sequence[Sequence[int]], first_id: int = 0
) -> Tensor:
    """Draw a token for each row of `logits` [rows, tokens] once; the arguments are those of `Drawing`."""
    return Drawing(samplings, logits.shape[-1], logits.device, first_id).tokens(logits, generated)


class Drawing:
    """Draws a token for each of the same rows, step after step.

    What the sampling parameters decide is put on the device once. On a GPU each value that a step copied
    there would make the host wait for all work that the GPU has been given.
    """

    def __init__(
        self, samplings: Sequence[Sampling], tokens: int, device: torch.device, first_id: int = 0
    ) -> None:
        """The logits have a row for each of `samplings` and `tokens` columns, from token `first_id` on."""
        self._samplings = samplings
        self._first_id = first_id
        self._device = device
        self._penalised = [row for row, one in enumerate(samplings) if one.repetition_penalty != 1]
        self._drawn = [row for row, one in enumerate(samplings) if one.temperature > 0]
        drawn = [samplings[row] for row in self._drawn]
        self._drawn_rows = self._on_device(self._drawn) if len(drawn) < len(samplings) else None
        """Indices of the rows that are not greedy; None if no row is greedy."""
        self._temperatures = self._column([max(one.temperature, _MIN_TEMPERATURE) for one in drawn])
        self._seeds = [_splitmix64(one.seed) for one in drawn]
        self._generator = torch.Generator(device)
        counts = [one.top_k if 0 < one.top_k < tokens else tokens for one in drawn]
        self._largest = max((count for count in counts if count < tokens), default=0)
        """The largest top-k; 0 if no row has one."""
        self._last = self._on_device([[min(count, self._largest) - 1] for count in counts])
        # Rows without a limit get the threshold -inf, so that they keep every token.
        self._unlimited = self._column([-torch.inf if count == tokens else torch.inf for count in counts])
        self._has_top_p = any(one.top_p < 1 for one in drawn)
        self._top_p = self._column([one.top_p if one.top_p < 1 else torch.inf for one in drawn])

    def tokens(self, logits: Tensor, generated: Sequence[Sequence[int]]) -> Tensor:
        """Draw from `logits` [rows, tokens]; the result is [rows] int64, columns of `logits`.

        `generated` holds each row's tokens so far; their number is the row's step, and their values matter
        only with a repetition penalty.
        """
        logits = self._without_repetition(logits.float(), generated)
        if not self._drawn:
            return logits.argmax(dim=-1)
        scaled = (logits if self._drawn_rows is None else logits[self._drawn_rows]) / self._temperatures
        weights = self._likeliest(self._largest_only(scaled))
        # With exponential noise E, argmax of p / E is a draw from p. Rounding hardly ever changes the largest
        # value, but with cumulated probabilities it would often change the token that is drawn.
        noise = self._exponential_noise([len(generated[row]) for row in self._drawn], weights)
        tokens = weights.div_(noise).argmax(dim=-1)
        if self._drawn_rows is None:
            return tokens
        return logits.argmax(dim=-1).index_copy_(0, self._drawn_rows, tokens)

    def _without_repetition(self, logits: Tensor, generated: Sequence[Sequence[int]]) -> Tensor:
        """Make generated tokens less likely if the penalty is above 1, as in CTRL (arXiv:1909.05858)."""
        penalised = [row for row in self._penalised if generated[row]]
        if not penalised:
            return logits
        logits = logits.clone()
        for row in penalised:
            # A token that was generated twice is assigned twice, with the same value.
            columns = self._on_device(generated[row]).sub_(self._first_id)
            seen = logits[row, columns]
            penalty = self._samplings[row].repetition_penalty
            logits[row, columns] = torch.where(seen > 0, seen / penalty, seen * penalty)
        return logits

    def _largest_only(self, logits: Tensor) -> Tensor:
        """Set all but each row's `top_k` largest logits to -inf, in place."""
        if not self._largest:
            return logits
        largest = logits.topk(self._largest).values
        smallest = largest.gather(-1, self._last).minimum(self._unlimited)
        return logits.masked_fill_(logits < smallest, -torch.inf)

    def _likeliest(self, logits: Tensor) -> Tensor:
        """Probabilities; all but the smallest set of tokens that sums to `top_p` are set to 0."""
        probabilities = logits.softmax(dim=-1)
        if not self._has_top_p:
            return probabilities
        # Each operation handles all rows: on a busy CPU the threads of many small operations wait for each
        # other.
        ascending = _sorted(probabilities)
        below = ascending.cumsum(dim=-1, dtype=torch.float64)
        # A token stays if the likelier ones sum to less than top_p, so the likeliest always stays.
        cut = below[:, -1:] - self._top_p
        # The limit keeps the likeliest token if top_p is smaller than rounding errors.
        first = torch.searchsorted(below, cut, right=True).clamp_(max=below.shape[-1] - 1)
        smallest = ascending.gather(-1, first)
        return probabilities.masked_fill_(probabilities < smallest, 0.0)

    def _exponential_noise(self, steps: Sequence[int], like: Tensor) -> Tensor:
        """Exponentially distributed noise [rows, tokens]; each row is drawn from its own seed and step."""
        noise = torch.empty_like(like)
        for row, (seed, step) in enumerate(zip(self._seeds, steps, strict=True)):
            self._generator.manual_seed(_splitmix64(seed + step) & (_MASK64 >> 1))
            noise[row].uniform_(generator=self._generator)
        # Inversion of uniform noise: torch's exponential_ takes four times as long.
        return noise.log_().neg_()

    def _on_device(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device).unsqueeze(-1)


def derived_seed(seed: int, attempt: int) -> int:
    """Another seed, derived from `seed`, for a repeated run."""
    return _splitmix64(_splitmix64(seed) + attempt)


def _sorted(values: Tensor) -> Tensor:
    """Sort ascending. On a CPU numpy's vectorised sort is an order of magnitude faster than torch's."""
    return torch.from_numpy(np.sort(values.numpy())) if values.device.type == "cpu" else values.sort().values


def _splitmix64(value: int) -> int:
    """A bijection of 64-bit integers that makes neighbours unrelated (Steele, Lea and Flood, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK64
    return value ^ (value >> 31)
