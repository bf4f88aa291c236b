"""Dynamic time warping: the cheapest way through a matrix of costs that never goes back.

The totals are computed one antidiagonal at a time, because the cells of an antidiagonal do not depend on each
other: a song of ten minutes takes some thousand calls of numpy instead of fifteen million steps of Python.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
"""[tokens, frames]"""

_BOTH, _TOKEN, _FRAME = 0, 1, 2
"""The moves by which a cell is reached: to the next token and frame, to the next token, to the next frame."""


@dataclass(frozen=True)
class Path:
    """The cells of a path from the first token and frame to the last ones, in order."""

    tokens: npt.NDArray[np.intp]
    """The row of each cell."""
    frames: npt.NDArray[np.intp]
    """The column of each cell."""

    def frames_of(self, token: int) -> tuple[int, int]:
        """The first and the last frame of a token. Every token has one at least."""
        first, end = np.searchsorted(self.tokens, (token, token + 1))
        return int(self.frames[first]), int(self.frames[end - 1])


def cheapest_path(costs: Matrix) -> Path:
    """The path with the lowest sum of `costs`, which are finite.

    A cell is reached from the predecessor that is strictly the cheapest of the three. Where none is, it is
    reached from the frame before, as in the original: its implementation tests the predecessors in this
    order, and this decides the path through flat regions.
    """
    return _back(_moves(costs))


def _moves(costs: Matrix) -> npt.NDArray[np.int8]:
    """[tokens, frames]: the move by which the cheapest path to each cell ends."""
    tokens, frames = costs.shape
    moves = np.empty((tokens, frames), np.int8)
    flat_costs, flat_moves = costs.ravel(), moves.ravel()
    # Totals of two antidiagonals, by the token plus one. Cells outside of the matrix cost infinitely much.
    outside = np.full(tokens + 1, np.inf, np.float32)
    second_last, last = outside.copy(), outside.copy()
    second_last[0] = 0.0  # where every path begins
    step = max(1, frames - 1)  # from a cell of an antidiagonal to its next one, in the flat matrix
    for diagonal in range(tokens + frames - 1):
        first, end = max(0, diagonal - frames + 1), min(tokens, diagonal + 1)
        begin = first * (frames - 1) + diagonal
        cells = slice(begin, begin + (end - 1 - first) * step + 1, step)
        both, token, frame = second_last[first:end], last[first:end], last[first + 1 : end + 1]
        goes_both = (both < token) & (both < frame)
        goes_token = (token < both) & (token < frame)
        flat_moves[cells] = np.where(goes_both, _BOTH, np.where(goes_token, _TOKEN, _FRAME))
        totals = outside.copy()
        totals[first + 1 : end + 1] = flat_costs[cells] + np.where(
            goes_both, both, np.where(goes_token, token, frame)
        )
        second_last, last = last, totals
    return moves


def _back(moves: npt.NDArray[np.int8]) -> Path:
    """The path that ends in the last cell."""
    token, frame = moves.shape[0] - 1, moves.shape[1] - 1
    cells = [(token, frame)]
    while (token, frame) != (0, 0):
        move = moves[token, frame]
        token -= move != _FRAME
        frame -= move != _TOKEN
        cells.append((token, frame))
    rows, columns = zip(*reversed(cells), strict=True)
    return Path(np.array(rows, np.intp), np.array(columns, np.intp))
