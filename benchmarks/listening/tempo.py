"""Estimates the tempo of a recording with librosa."""

import librosa

from benchmarks.listening.features import RATE, Mono

_HOP = 256
TOLERANCE = 0.04
_OCTAVES = (0.5, 1.0, 2.0)


def tempo(mono: Mono) -> float:
    """Return the beats a minute of [samples] at `RATE`. They may be off by an octave."""
    from librosa.onset import onset_strength  # Only who listens waits for librosa's parts.

    strength = onset_strength(y=mono, sr=RATE, hop_length=_HOP)
    (found,) = librosa.feature.tempo(onset_envelope=strength, sr=RATE, hop_length=_HOP, ac_size=8.0)
    return float(found)


def is_tempo(heard: float, asked: float) -> bool:
    """Return whether a tempo is within `TOLERANCE` of the requested one, or an octave from it."""
    return any(abs(heard / (octave * asked) - 1) <= TOLERANCE for octave in _OCTAVES)
