"""Makes recordings for tests: a chord that fades, so that no two moments are equal."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile


def chord(seconds: float, sample_rate: int = 48_000, level: float = 0.5) -> npt.NDArray[np.float32]:
    """Return float32 samples [samples, 2]."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    tones = [np.sin(2 * np.pi * hertz * time) * np.exp(-time / 8) for hertz in (220.0, 277.2, 329.6)]
    left = level * np.mean(tones, axis=0)
    return np.stack([left, 0.8 * np.roll(left, 37)], axis=1).astype(np.float32)


def write_recording(path: Path, seconds: float, sample_rate: int = 48_000) -> Path:
    """Write a stereo file in the format that the suffix names."""
    soundfile.write(path, chord(seconds, sample_rate), sample_rate)
    return path
