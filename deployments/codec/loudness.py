"""Levels of finished songs (contract §1.4)."""

import numpy as np

from deployments.codec.audio_files import SILENCE_PEAK, Samples

TARGET_PEAK = 10 ** (-1 / 20)
"""-1 dBFS."""


def peak(samples: Samples) -> float:
    """The largest magnitude in [channels, samples]; 0 where there is none."""
    return float(np.abs(samples).max(initial=0.0))


def normalised(samples: Samples) -> Samples:
    """`samples` scaled to a peak of -1 dBFS; silence stays silence."""
    loudest = peak(samples)
    return samples if loudest < SILENCE_PEAK else samples * np.float32(TARGET_PEAK / loudest)


def limited(samples: Samples) -> Samples:
    """`samples` turned down, where they are louder, to a peak of -1 dBFS."""
    return normalised(samples) if peak(samples) > TARGET_PEAK else samples
