"""The part of a source that a repaint renews, in seconds."""

from dataclasses import dataclass

from configs.domain import SAMPLE_RATE, SAMPLES_PER_LATENT
from deployments.common.messages import Window


@dataclass(frozen=True)
class RepaintSpan:
    """The renewed part in the time of the padded source, and the silence added around the source."""

    start: float
    end: float
    pad_left: float
    pad_right: float

    def total_seconds(self, source_seconds: float) -> float:
        """Seconds of the song after out-painting."""
        return self.pad_left + source_seconds + self.pad_right

    def window(self, frames: int) -> Window:
        """The latent frames to renew in a song of `frames` frames; at least one."""
        start = min(int(self.start * SAMPLE_RATE // SAMPLES_PER_LATENT), frames - 1)
        end = min(int(self.end * SAMPLE_RATE // SAMPLES_PER_LATENT), frames)
        return Window(start, max(end, start + 1))


def repaint_span(start: float, end: float | None, source_seconds: float) -> RepaintSpan:
    """Resolve `repainting_start` and `repainting_end` against the source's length (contract §1.2).

    An end of None or -1 means the end of the source. With a negative `start` it means the start of the
    source: then only the new part before the source is made. A start after the end of the source is moved to
    that end, because otherwise there would be silence in between. Raises ValueError where nothing is left to
    renew.
    """
    pad_left = max(0.0, -start)
    if end is None or end == -1:
        end = 0.0 if pad_left else source_seconds
    if end <= start:
        raise ValueError(f"ends at {end:g} s, not after its start at {start:g} s")
    pad_right = max(0.0, end - source_seconds)
    start = min(start, source_seconds)
    return RepaintSpan(start + pad_left, end + pad_left, pad_left, pad_right)
