"""Synthesises drum kits from noise and sines."""

import numpy as np
import numpy.typing as npt

from configs.domain import SAMPLE_RATE
from training.songs.instruments import Wave, seconds_from_zero, wave_of

KITS = ("acoustic", "electronic", "brushes")

_KICK_HZ = {"acoustic": 55, "electronic": 46, "brushes": 60}
_KICK_DECAY = {"acoustic": 0.11, "electronic": 0.2, "brushes": 0.08}
_SNARE_DECAY = {"acoustic": 0.09, "electronic": 0.12, "brushes": 0.07}
_LEVELS = {"acoustic": 1.0, "electronic": 1.0, "brushes": 0.7}


def kit(kind: str, rng: np.random.Generator) -> dict[str, Wave]:
    """Return [samples] for each drum of a kit. Its tuning and decays are drawn."""
    tuning, length = rng.uniform(0.88, 1.14), rng.uniform(0.8, 1.3)
    level = np.float32(_LEVELS[kind])
    snare_tone = 0.0 if kind == "brushes" else 0.5
    drums = {
        "kick": _kick(_KICK_HZ[kind] * tuning, _KICK_DECAY[kind] * length),
        "snare": _snare(185 * tuning, _SNARE_DECAY[kind] * length, snare_tone, rng),
        "hat": _cymbal(0.03 * length, 7000, 0.5, rng),
        "open": _cymbal(0.14 * length, 6000, 0.45, rng),
        "ride": _cymbal(0.22 * length, 5000, 0.35, rng),
    }
    return {name: wave_of(level * wave) for name, wave in drums.items()}


def _time(decay: float) -> Wave:
    return seconds_from_zero(round(7 * decay * SAMPLE_RATE))


def _kick(hertz: float, decay: float) -> Wave:
    time = _time(decay)
    sweep = hertz * time + 4.0 * hertz * 0.018 * (1 - np.exp(-time / 0.018))
    click = 0.25 * np.exp(-time / 0.002)
    return wave_of(np.sin(2 * np.pi * sweep) * np.exp(-time / decay) + click)


def _snare(hertz: float, decay: float, ringing: float, rng: np.random.Generator) -> Wave:
    time = _time(decay)
    rattle = _without_lows(rng.standard_normal(time.size, dtype=np.float32), 1500) * np.exp(-time / decay)
    ring = np.sin(2 * np.pi * hertz * time) * np.exp(-time / (0.6 * decay))
    return wave_of(0.45 * rattle + ringing * ring)


def _cymbal(decay: float, lowest_hertz: float, level: float, rng: np.random.Generator) -> Wave:
    time = _time(decay)
    hiss = _without_lows(rng.standard_normal(time.size, dtype=np.float32), lowest_hertz)
    return wave_of(level * hiss * np.exp(-time / decay))


def _without_lows(noise: Wave, hertz: float) -> npt.NDArray[np.float64]:
    """Return the noise above `hertz` with deviation 1. It falls off above 14 kHz."""
    size = 1 << noise.size.bit_length()
    spectrum = np.fft.rfft(noise, size)
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum *= 1 / (1 + (hertz / np.maximum(frequencies, 1)) ** 4) / (1 + (frequencies / 14_000) ** 6)
    filtered: npt.NDArray[np.float64] = np.fft.irfft(spectrum, size)[: noise.size]
    filtered /= filtered.std()
    return filtered
