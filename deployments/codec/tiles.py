"""Cutting a sequence into windows of one width whose results join seamlessly."""

from dataclasses import dataclass

MARGIN = 9
"""Latent frames. The decoder's receptive field is ±8.33 frames, the encoder's ±7, so a frame at least this
far from the edges of its window has the same result as in the whole sequence."""


@dataclass(frozen=True)
class Tile:
    """A window of a sequence and its core, the part used for the result; in latent frames, ends exclusive."""

    start: int
    stop: int
    core_start: int
    core_stop: int


def cut_into_tiles(length: int, width: int, margin: int = MARGIN) -> list[Tile]:
    """Windows of exactly `width` frames. The last one ends at `length`; each frame is in exactly one core.

    A sequence no longer than `width` is one tile of its own length. Raises ValueError if `width` leaves no
    core.
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
    """The narrowest width at which `length` frames need no more tiles than at `width`.

    At full width the last tile overlaps by more than the margins unless `length` happens to fit.
    """
    tiles = max(1, -(-(length - 2 * margin) // (width - 2 * margin)))
    return max(2 * margin + 1, -(-(length - 2 * margin) // tiles) + 2 * margin)
