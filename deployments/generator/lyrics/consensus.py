"""From the attention of several heads to one matrix of where each token of the lyrics is sung.

Source: the lyric alignment of ACE-Step 1.5 (June 2026).
"""

import math

import numpy as np
import numpy.typing as npt

from deployments.generator.lyrics.warping import Matrix

Attention = npt.NDArray[np.float32]
"""[heads, tokens, frames]: the probabilities of cross-attention, of the tokens of the lyrics alone."""

_SMALLEST_DEVIATION = 1e-9


def consensus(attention: Attention) -> Matrix:
    """[tokens, frames]: high where the heads agree that a frame belongs to a token.

    The values are standardised over all heads before their mean is taken, so a head that finds nothing to
    distinguish contributes little.
    """
    # One head after the other, because in a long song with long lyrics each one takes 60 MB.
    together = np.zeros(attention.shape[1:], np.float32)
    squares = 0.0
    for head in attention:
        focused = _focused(head)
        together += focused
        squares += float(np.square(focused, dtype=np.float64).mean())
    together /= len(attention)
    mean = float(together.mean(dtype=np.float64))
    deviation = math.sqrt(max(0.0, squares / len(attention) - mean**2)) + _SMALLEST_DEVIATION
    together -= np.float32(mean)
    together /= np.float32(deviation)
    return together


def _focused(head: Matrix) -> Matrix:
    """Return how far each token stands out among the frames of one head, and each frame among its tokens."""
    product = _softmax(head, axis=1) * _softmax(head, axis=0)
    _keep_above_twice(product, np.median(product, axis=1, keepdims=True))
    # Nothing is negative from here on, so most medians over the tokens are 0 and need no sorting.
    crowded = np.count_nonzero(product, axis=0) >= len(product) / 2
    medians = np.zeros((1, product.shape[1]), product.dtype)
    medians[:, crowded] = np.median(product[:, crowded], axis=0)
    _keep_above_twice(product, medians)
    focused: Matrix = np.square(product, out=product)
    return focused


def _keep_above_twice(values: Matrix, medians: Matrix) -> None:
    """Subtract twice the medians in place; what is left below 0 becomes 0."""
    values -= 2 * medians
    np.maximum(values, 0, out=values)


def _softmax(values: Matrix, axis: int) -> Matrix:
    powers: Matrix = np.exp(values - values.max(axis=axis, keepdims=True))
    powers /= powers.sum(axis=axis, keepdims=True)
    return powers
