"""Levels of finished songs (contract §1.4)."""

import math

import numpy as np

from configs.domain import sample_count
from deployments.common.stored_recordings import SILENCE_PEAK, Samples

FULL_SCALE = 1.0
TARGET_PEAK = 10 ** (-1 / 20)
"""-1 dBFS, below which a source stays when it is turned up for the model."""
USUAL_LEVEL = 10 ** (-20 / 20)
"""Root mean square of -20 dBFS. In two channels this is about -18 LUFS, the reference level of ReplayGain;
most released music is louder. The embedded model generates music at about this level."""
_SURROUNDINGS = 10.0
"""Seconds before and after a window in which the level is measured."""
_METER_BLOCK = 0.4
"""Length of a measured block, in seconds."""
_PAUSE = 0.1
"""Blocks with less than this fraction of the mean power count as pauses."""


def peak(samples: Samples) -> float:
    """The largest magnitude in [channels, samples]; 0 if there are no samples."""
    return float(np.abs(samples).max(initial=0.0))


def magnitude(decibels: float) -> float:
    """The magnitude of a level in dB relative to full scale."""
    return float(10 ** (decibels / 20))


def normalised(samples: Samples, target: float) -> Samples:
    """`samples` scaled to a peak of `target`; silence stays silence."""
    loudest = peak(samples)
    return samples if loudest < SILENCE_PEAK else samples * np.float32(target / loudest)


def gain_to_usual_level(source: Samples, start: float, end: float) -> float:
    """The factor that brings a quiet source [2, samples] to USUAL_LEVEL around a window.

    The window begins at `start` and ends at `end`, in seconds. The factor is at least 1, and it brings no
    sample above -1 dBFS.
    """
    level = _level(_around(source, start, end))
    return max(1.0, min(USUAL_LEVEL / level, TARGET_PEAK / peak(source))) if level else 1.0


def _around(source: Samples, start: float, end: float) -> list[Samples]:
    """The parts of a source before and after a window."""
    reach, first, last = (sample_count(seconds) for seconds in (_SURROUNDINGS, start, end))
    return [source[:, max(first - reach, 0) : first], source[:, last : last + reach]]


def _level(parts: list[Samples]) -> float:
    """The root mean square of the blocks that are not pauses; 0 if all are silent.

    Blocks and pauses are defined as in ITU-R BS.1770, but frequencies are not weighted.
    """
    block = sample_count(_METER_BLOCK)
    powers = np.array(
        [
            np.square(part[:, at : at + block], dtype=np.float64).mean()
            for part in parts
            for at in range(0, part.shape[1], block)
        ]
    )
    powers = powers[powers > SILENCE_PEAK**2]
    if not powers.size:
        return 0.0
    return math.sqrt(powers[powers >= _PAUSE * powers.mean()].mean())


def limited(samples: Samples, ceiling: float) -> Samples:
    """`samples`, scaled to a peak of `ceiling` if they are louder."""
    return normalised(samples, ceiling) if peak(samples) > ceiling else samples


def faded(samples: Samples, fade_in: int, fade_out: int) -> Samples:
    """`samples` [channels, samples] with linear fades of so many samples at the beginning and the end."""
    length = samples.shape[1]
    gain = np.ones(length, np.float32)
    for count, share in ((fade_in, gain), (fade_out, gain[::-1])):
        count = min(count, length)
        share[:count] *= np.linspace(0, 1, count, dtype=np.float32)
    return samples * gain
