"""How well a song follows its lyrics, as far as its attention shows it.

Source: the lyric alignment score of ACE-Step 1.5 (June 2026).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployments.generator.lyrics.consensus import Attention
from deployments.generator.lyrics.warping import Matrix, cheapest_path

_COVERED = 0.1
"""The energy above which a token counts as sung."""
_HEARD = 0.01
"""The energy above which a frame counts for the middle of a token."""
_OVERLAP_FRAMES = 9.0
"""The frames by which the middle of a token may lie before that of the token before it."""
_SMALLEST_RANGE = 1e-9


@dataclass(frozen=True)
class AlignmentScore:
    """The three parts of the score, each from 0 to 1."""

    coverage: float
    """The share of the sung tokens that any frame attends to. It is 1 where nothing is to be sung."""
    monotonicity: float
    """The share of neighbouring sung tokens whose middles are in the order of the lyrics."""
    confidence: float
    """The mean energy along the cheapest path through all tokens."""

    @property
    def total(self) -> float:
        """The score, from 0 to 1, with four decimals."""
        product = self.coverage**2 * self.monotonicity**2 * self.confidence
        return round(min(1.0, max(0.0, product)), 4)


def alignment_score(attention: Attention, is_sung: Sequence[bool]) -> AlignmentScore:
    """The score of a song; `is_sung` is false for the tokens of section tags."""
    energy = _energy(attention)
    path = cheapest_path(-np.square(energy))
    exact = energy.astype(np.float64)
    sung = exact[np.array(is_sung, bool)]
    return AlignmentScore(
        coverage=float((sung.max(axis=1) > _COVERED).mean()) if len(sung) else 1.0,
        monotonicity=_monotonicity(sung),
        confidence=float(exact[path.tokens, path.frames].mean()),
    )


def sung_tokens(texts: Sequence[str]) -> list[bool]:
    """Whether each token is sung: tags in [brackets], with the tokens that hold the brackets, are not."""
    sung, in_tag = [], False
    for text in texts:
        in_tag = in_tag or "[" in text
        sung.append(not in_tag and "]" not in text)
        in_tag = in_tag and "]" not in text
    return sung


def _energy(attention: Attention) -> Matrix:
    """[tokens, frames]: the mean of the heads, from 0 to 1; all 0 where it is the same everywhere."""
    mean: Matrix = attention.mean(axis=0)
    low, high = mean.min(), mean.max()
    if high - low <= _SMALLEST_RANGE:
        return np.zeros_like(mean)
    energy: Matrix = (mean - low) / (high - low)
    return energy


def _monotonicity(energy: npt.NDArray[np.float64]) -> float:
    """Return the share of neighbouring sung tokens whose middles come in order.

    Tokens that no frame attends to are left out; 1 where fewer than two remain.
    """
    heard = np.where(energy > _HEARD, energy, 0.0)
    totals = heard.sum(axis=1)
    middles = (heard @ np.arange(energy.shape[1]))[totals > 0] / totals[totals > 0]
    if len(middles) < 2:
        return 1.0
    return float((np.diff(middles) >= -_OVERLAP_FRAMES).mean())
