"""From logits to tokens. All backends use this sampling code.

The order is: guidance in float32, mask, repetition penalty, temperature, top-k, top-p, draw. The draw of a
row depends only on its logits, its seed and its step, and so not on the other rows of the batch.
"""

from collections.abc import Sequence

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
    masked = torch.isneginf(conditional) | torch.isneginf(unconditional)
    return guided.masked_fill_(masked, -torch.inf)


def draw(
    logits: Tensor, samplings: Sequence[Sampling], generated: Sequence[Sequence[int]], first_id: int = 0
) -> Tensor:
    """Draw a token for each row of `logits` [rows, tokens]; returns [rows] int64.

    `generated` holds each row's tokens so far; their number is the row's step, and their values matter only
    with a repetition penalty. Column 0 of `logits` belongs to token `first_id`.
    """
    logits = _penalised(logits.float(), samplings, generated, first_id)
    drawn = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if not drawn:
        return logits.argmax(dim=-1)
    chosen = [samplings[row] for row in drawn]
    temperatures = [max(sampling.temperature, _MIN_TEMPERATURE) for sampling in chosen]
    scaled = (logits if len(drawn) == len(samplings) else logits[drawn]) / _column(temperatures, logits)
    weights = _top_p(_top_k(scaled, chosen), chosen)
    # With exponential noise E, argmax of p / E is a draw from p. Rounding hardly ever changes the largest
    # value, but with cumulated probabilities it would often change the token that is drawn.
    tokens = weights.div_(_exponential_noise(chosen, [len(generated[row]) for row in drawn], logits)).argmax(
        dim=-1
    )
    if len(drawn) == len(samplings):
        return tokens
    return logits.argmax(dim=-1).index_copy_(0, torch.tensor(drawn, device=logits.device), tokens)


def derived_seed(seed: int, attempt: int) -> int:
    """Another seed, derived from `seed`, for a repeated run."""
    return _splitmix64(_splitmix64(seed) + attempt)


def _penalised(
    logits: Tensor, samplings: Sequence[Sampling], generated: Sequence[Sequence[int]], first_id: int
) -> Tensor:
    """Make generated tokens less likely if the penalty is above 1, as in CTRL (arXiv:1909.05858)."""
    penalised = [
        row for row, sampling in enumerate(samplings) if sampling.repetition_penalty != 1 and generated[row]
    ]
    if not penalised:
        return logits
    logits = logits.clone()
    for row in penalised:
        # A token that was generated twice is assigned twice, with the same value.
        columns = torch.tensor(generated[row], device=logits.device).sub_(first_id)
        seen = logits[row, columns]
        penalty = samplings[row].repetition_penalty
        logits[row, columns] = torch.where(seen > 0, seen / penalty, seen * penalty)
    return logits


def _top_k(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    tokens = logits.shape[-1]
    counts = [sampling.top_k if 0 < sampling.top_k < tokens else tokens for sampling in samplings]
    limited = [count for count in counts if count < tokens]
    if not limited:
        return logits
    largest = logits.topk(max(limited)).values
    # Rows without a limit get the threshold -inf, so that they keep every token.
    last = torch.tensor([min(count, max(limited)) - 1 for count in counts], device=logits.device)
    unlimited = _column([-torch.inf if count == tokens else torch.inf for count in counts], logits)
    smallest = largest.gather(-1, last[:, None]).minimum(unlimited)
    return logits.masked_fill_(logits < smallest, -torch.inf)


def _top_p(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Probabilities [rows, tokens]; all but the smallest set of tokens that sums to top_p are set to 0."""
    probabilities = logits.softmax(dim=-1)
    if all(sampling.top_p >= 1 for sampling in samplings):
        return probabilities
    # Each operation handles all rows: on a busy CPU the threads of many small operations wait for each other.
    ascending = _sorted(probabilities)
    below = ascending.cumsum(dim=-1, dtype=torch.float64)
    # A token stays if the likelier ones sum to less than top_p, so the likeliest always stays.
    kept = [sampling.top_p if sampling.top_p < 1 else torch.inf for sampling in samplings]
    cut = below[:, -1:] - _column(kept, logits)
    # The limit keeps the likeliest token if top_p is smaller than rounding errors.
    first = torch.searchsorted(below, cut, right=True).clamp_(max=below.shape[-1] - 1)
    smallest = ascending.gather(-1, first)
    return probabilities.masked_fill_(probabilities < smallest, 0.0)


def _sorted(values: Tensor) -> Tensor:
    """Sort ascending. On a CPU numpy's vectorised sort is an order of magnitude faster than torch's."""
    return torch.from_numpy(np.sort(values.numpy())) if values.device.type == "cpu" else values.sort().values


def _exponential_noise(samplings: Sequence[Sampling], steps: Sequence[int], like: Tensor) -> Tensor:
    """Exponentially distributed noise [rows, tokens]; each row is drawn from its own seed and step."""
    noise = torch.empty(len(samplings), like.shape[-1], device=like.device)
    generator = torch.Generator(like.device)
    for row, (sampling, step) in enumerate(zip(samplings, steps, strict=True)):
        generator.manual_seed(_splitmix64(_splitmix64(sampling.seed) + step) & (_MASK64 >> 1))
        noise[row].uniform_(generator=generator)
    # Inversion of uniform noise: torch's exponential_ takes four times as long.
    return noise.log_().neg_()


def _splitmix64(value: int) -> int:
    """A bijection of 64-bit integers that makes neighbours unrelated (Steele, Lea and Flood, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK64
    return value ^ (value >> 31)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device).unsqueeze(-1)
