"""Computes the features that the probes use: pitch classes, and the level and movement of the spectrum."""

from dataclasses import dataclass
from functools import cache

import librosa
import numpy as np
import numpy.typing as npt

Mono = npt.NDArray[np.float32]

RATE = 22_050
"""Sample rate in Hz of everything that listens."""

_PITCH_WINDOW, _PITCH_HOP = 8192, 2048
_PITCH_BANDS = ((50.0, 180.0), (180.0, 700.0), (700.0, 2000.0))
"""Frequency bands in Hz. The first is the bass."""
_TIMBRE_WINDOW, _TIMBRE_HOP, _MELS = 2048, 512, 64
_FLOOR = 1e-4


@dataclass(frozen=True)
class Features:
    """The features of one recording. They do not depend on its loudness."""

    pitch_classes: npt.NDArray[np.float64]
    """[5, 12]: shares of C…B in each of `_PITCH_BANDS`, then in all bands at the beginning and at the end."""
    timbre: npt.NDArray[np.float64]
    """[320]: mean, deviation, 90 % quantile, mean rise and fast rise of the levels of 64 mel bands."""


def features(mono: Mono) -> Features:
    """Compute the features of `mono`, [samples] at `RATE`."""
    return Features(_pitch_classes(mono), _timbre(mono))


def _pitch_classes(mono: Mono) -> npt.NDArray[np.float64]:
    spectrum = np.abs(librosa.stft(mono, n_fft=_PITCH_WINDOW, hop_length=_PITCH_HOP))
    # Only spectral peaks count, because tones have them while drums and breath mostly do not.
    neighbours = np.maximum(np.roll(spectrum, 1, axis=0), np.roll(spectrum, -1, axis=0))
    peaks = np.sqrt(np.where(spectrum > neighbours, spectrum, 0.0))
    rows = [_folded(peaks, band).sum(axis=1) for band in _PITCH_BANDS]
    whole = _folded(peaks, (_PITCH_BANDS[0][0], _PITCH_BANDS[-1][1]))
    edge = whole.shape[1] // 6
    rows += [whole[:, :edge].sum(axis=1), whole[:, -edge:].sum(axis=1)]
    classes = np.array(rows)
    shares: npt.NDArray[np.float64] = classes / np.maximum(classes.sum(axis=1, keepdims=True), 1e-9)
    return shares


def _folded(spectrum: npt.NDArray[np.float32], band: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return [12, frames]: the level of each pitch class between two frequencies."""
    folded: npt.NDArray[np.float64] = _folding(*band) @ spectrum
    return folded


@cache
def _folding(low: float, high: float) -> npt.NDArray[np.float64]:
    """Return [12, bins]: 1 where a frequency bin belongs to a pitch class."""
    hertz = np.fft.rfftfreq(_PITCH_WINDOW, 1 / RATE)
    inside = (hertz >= low) & (hertz < high)
    classes = np.round(12 * np.log2(np.maximum(hertz, 1.0) / 440.0) + 69).astype(int) % 12
    return np.array([inside & (classes == pitch_class) for pitch_class in range(12)], float)


def _timbre(mono: Mono) -> npt.NDArray[np.float64]:
    power = librosa.feature.melspectrogram(
        y=mono, sr=RATE, n_fft=_TIMBRE_WINDOW, hop_length=_TIMBRE_HOP, n_mels=_MELS, fmin=40
    )
    level = np.log(power / max(float(power.mean()), 1e-12) + _FLOOR)
    steps = np.diff(level, axis=1)
    timbre: npt.NDArray[np.float64] = np.concatenate(
        [
            level.mean(axis=1),
            level.std(axis=1),
            np.quantile(level, 0.9, axis=1),
            np.maximum(steps, 0).mean(axis=1),
            np.quantile(steps, 0.97, axis=1),
        ]
    )
    return timbre
