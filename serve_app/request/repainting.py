"""Which part of a source a repaint renews, in seconds."""

from dataclasses import dataclass

from configs.domain import SAMPLE_RATE, SAMPLES_PER_LATENT
from deployments.common.messages import Window


@dataclass(frozen=True)
class RepaintSpan:
    """The renewed part in the time of the padded source, and the silence added on both sides of it."""

    start: float
    end: float
    pad_left: float
    pad_right: float

    def total_seconds(self, source_seconds: float) -> float:
        """Length of the song after out-painting."""
        return self.pad_left + source_seconds + self.pad_right

    def window(self, frames: int) -> Window:
        """The renewed latent frames of a song of `frames`; at least one."""
        start = min(int(self.start * SAMPLE_RATE // SAMPLES_PER_LATENT), frames - 1)
        end = min(int(self.end * SAMPLE_RATE // SAMPLES_PER_LATENT), frames)
        return Window(start, max(end, start + 1))


def repaint_span(start: float, end: float | None, source_seconds: float) -> RepaintSpan:
    """Resolve `repainting_start` and `repainting_end` against the source's length (contract §1.2).

    An end of None or -1 is the end of the source, or its start where `start` is negative: then only the new
    part in front is made. A window that begins after the source begins at its end instead: there would be
    silence between the two. Raises ValueError where nothing is left to renew.
    """
    pad_left = max(0.0, -start)
    if end is None or end == -1:
        end = 0.0 if pad_left else source_seconds
    if end <= start:
        raise ValueError(f"ends at {end:g} s, not after its start at {start:g} s")
    pad_right = max(0.0, end - source_seconds)
    start = min(start, source_seconds)
    return RepaintSpan(start + pad_left, end + pad_left, pad_left, pad_right)
