"""Cutting a sequence into windows of one width whose results join without a seam."""

from dataclasses import dataclass

MARGIN = 9
"""Latent frames. The decoder hears ±8.33 frames around each frame, the encoder ±7: a frame at least this far
from the edges of its window comes out as if there were none."""


@dataclass(frozen=True)
class Tile:
    """A window of a sequence, and the core of it that goes into the result; latent frames, ends exclusive."""

    start: int
    stop: int
    core_start: int
    core_stop: int


def cut_into_tiles(length: int, width: int, margin: int = MARGIN) -> list[Tile]:
    """Windows of exactly `width` frames, the last one ending at `length`; their cores cover it once.

    A sequence no longer than `width` is one tile of its own length.
    """
    if width <= 2 * margin:
        raise ValueError(f"tiles of {width} frames have no core between margins of {margin}")
    if length <= width:
        return [Tile(0, length, 0, length)]
    starts = [*range(0, length - width, width - 2 * margin), length - width]
    seams = [0, *(start + width - margin for start in starts[:-1]), length]
    return [
        Tile(start, start + width, seam, next_seam)
        for start, seam, next_seam in zip(starts, seams[:-1], seams[1:], strict=True)
    ]


def even_width(length: int, width: int, margin: int = MARGIN) -> int:
    """The narrowest width in which `length` frames take no more tiles than in `width`.

    Tiles of full width overlap by more than the margins wherever `length` is no multiple of their cores.
    """
    tiles = max(1, -(-(length - 2 * margin) // (width - 2 * margin)))
    return max(2 * margin + 1, -(-(length - 2 * margin) // tiles) + 2 * margin)
