"""Preparing users' recordings for the VAE's encoder."""

import random

import numpy as np

from configs.domain import SAMPLE_RATE, sample_count
from deployments.codec.files.loudness import peak
from deployments.common.stored_recordings import SILENCE_PEAK, Samples

REFERENCE_PIECES = 3
REFERENCE_PIECE_SECONDS = 10
"""A timbre reference is one piece from each third of the recording."""


def is_silent(samples: Samples) -> bool:
    """Whether [channels, samples] are silent."""
    return peak(samples) < SILENCE_PEAK


def padded(samples: Samples, left_seconds: float, right_seconds: float) -> Samples:
    """`samples` with silence on both sides, for out-painting."""
    return np.pad(samples, ((0, 0), (sample_count(left_seconds), sample_count(right_seconds))))


def reference_excerpt(samples: Samples, seed: int) -> Samples:
    """30 s of a timbre reference: three pieces of 10 s, one from each third, at positions drawn with `seed`.

    Shorter recordings are repeated first. The original model draws the positions from the global generator.
    """
    piece = REFERENCE_PIECE_SECONDS * SAMPLE_RATE
    repeats = -(-REFERENCE_PIECES * piece // samples.shape[1])
    samples = np.tile(samples, (1, repeats))
    third = samples.shape[1] // REFERENCE_PIECES
    draw = random.Random(seed)
    starts = [part * third + draw.randint(0, third - piece) for part in range(REFERENCE_PIECES)]
    return np.concatenate([samples[:, start : start + piece] for start in starts], axis=1)
