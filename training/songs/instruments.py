"""Synthesises eight families of instruments and a bass from wavetables.

A tone consists of a few bands of harmonics. Each band is a single-cycle wavetable with an envelope of its
own: in plucked and struck tones high bands decay first, in blown ones they start later. Everything is
synthesised here and nothing is sampled.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.domain import SAMPLE_RATE

Wave = npt.NDArray[np.float32]
_Bands = tuple[float, float, float, float]

_TABLE = 2048
_BANDS = ((1, 1), (2, 3), (4, 8), (9, 64))
"""First and last harmonic of each band."""
_HIGHEST_HZ = 15_000


@dataclass(frozen=True)
class Patch:
    """The parameters of an instrument's sound."""

    levels: tuple[float, ...]
    """Levels of the harmonics, beginning with the first."""
    attack: float
    """Duration of the attack in seconds."""
    release: float
    decay: _Bands | None = None
    """Seconds in which each band of middle C falls to 37 %. None sustains the tone."""
    band_attack: _Bands = (0, 0, 0, 0)
    """Seconds by which each band's attack is slower than `attack`."""
    detune: tuple[float, ...] = (0.0,)
    """Detuning of each voice in cents."""
    vibrato: tuple[float, float] = (0.0, 0.0)
    """Rate in Hz and depth in cents."""
    tremolo: tuple[float, float] = (0.0, 0.0)
    """Rate in Hz and depth from 0 to 1."""
    noise: float = 0.0
    """Level of the noise of breath or of a pick."""
    level: float = 1.0


def _falling(count: int, tilt: float, odd: float = 1.0, even: float = 1.0) -> tuple[float, ...]:
    return tuple((odd if n % 2 else even) / n**tilt for n in range(1, count + 1))


def _with_drawbars(levels: dict[int, float]) -> tuple[float, ...]:
    return tuple(levels.get(n, 0.0) for n in range(1, max(levels) + 1))


_FAMILIES = {
    "piano": Patch(
        _falling(28, 1.25), 0.003, 0.12, (1.5, 0.9, 0.45, 0.16), detune=(-1.5, 1.5), noise=0.02, level=1.25
    ),
    "guitar": Patch(
        tuple(abs(np.sin(np.pi * n * 0.18)) / n**1.1 for n in range(1, 31)),
        0.002, 0.08, (0.75, 0.4, 0.17, 0.06), noise=0.06, level=1.4,
    ),
    "organ": Patch(
        _with_drawbars({1: 0.9, 2: 1.0, 3: 0.8, 4: 0.5, 6: 0.35, 8: 0.45}), 0.012, 0.05,
        tremolo=(6.2, 0.16), vibrato=(6.2, 7), level=0.7,
    ),
    "strings": Patch(
        _falling(40, 1.0), 0.09, 0.2, detune=(-9, 0, 8), vibrato=(5.4, 14), band_attack=(0, 0, 0.03, 0.06),
        level=0.75,
    ),
    "flute": Patch(
        (1.0, 0.42, 0.2, 0.07, 0.05, 0.02), 0.045, 0.07, vibrato=(5.0, 16), tremolo=(5.0, 0.14), noise=0.05
    ),
    "brass": Patch(
        _falling(26, 0.62), 0.03, 0.06, band_attack=(0, 0.015, 0.05, 0.11), vibrato=(5.2, 8), level=0.6
    ),
    "synth": Patch(_falling(50, 1.0, even=0.06), 0.004, 0.05, detune=(-7, 7), level=0.6),
    "bells": Patch(
        _with_drawbars({1: 1.0, 4: 0.5, 10: 0.22, 17: 0.06}), 0.001, 0.4, (1.3, 0.9, 0.5, 0.12),
        tremolo=(4.5, 0.2), level=1.15,
    ),
    "bass": Patch(_falling(16, 1.5), 0.006, 0.05, (1.2, 0.7, 0.3, 0.1)),
}  # fmt: skip


def patch(family: str, rng: np.random.Generator) -> Patch:
    """Return one instrument of the family. Its brightness, decay and vibrato are drawn."""
    basic = _FAMILIES[family]
    tilt = rng.uniform(-0.18, 0.18)
    slower = rng.uniform(0.8, 1.3)
    return replace(
        basic,
        levels=tuple(level / n**tilt for n, level in enumerate(basic.levels, 1)),
        decay=basic.decay and _slower(basic.decay, slower),
        attack=basic.attack * rng.uniform(0.8, 1.25),
        vibrato=(basic.vibrato[0] * rng.uniform(0.9, 1.1), basic.vibrato[1] * rng.uniform(0.5, 1.2)),
        tremolo=(basic.tremolo[0] * rng.uniform(0.9, 1.1), basic.tremolo[1] * rng.uniform(0.5, 1.2)),
    )


def _slower(decay: _Bands, factor: float) -> _Bands:
    first, second, third, fourth = (factor * seconds for seconds in decay)
    return first, second, third, fourth


def wave_of(values: Any) -> Wave:
    """Convert values to single precision."""
    return np.asarray(values, np.float32)


def seconds_from_zero(count: int) -> Wave:
    """Return [count]: the time of each sample in seconds."""
    return wave_of(np.arange(count) / SAMPLE_RATE)


def tone(patch: Patch, pitch: int, seconds: float, rng: np.random.Generator) -> Wave:
    """Return [samples]: a MIDI pitch held for `seconds` and then released."""
    count = round((seconds + 3 * patch.release) * SAMPLE_RATE)
    time = seconds_from_zero(count)
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    wave = np.zeros(count, np.float32)
    phases = [_phase(patch, hertz * 2 ** (cents / 1200), time) for cents in patch.detune]
    tables = [_table(patch, first, last, hertz) for first, last in _BANDS]
    for band, table in enumerate(tables):
        if table is None:
            continue
        envelope = _band_envelope(patch, band, pitch, time)
        for voice, phase in enumerate(phases):
            wave += _look_up(table, phase + np.float32(0.37 * voice)) * envelope
    wave /= len(phases)
    if patch.noise:
        wave += _noise(patch, time, rng)
    if patch.tremolo[1]:
        wave *= 1 - patch.tremolo[1] * (0.5 + 0.5 * np.sin(2 * np.pi * patch.tremolo[0] * time))
    wave *= _held(patch, seconds, time)
    wave *= np.float32(patch.level)
    return wave


def _phase(patch: Patch, hertz: float, time: Wave) -> Wave:
    """Return the cycles since the onset. The vibrato is complete after a fifth of a second."""
    rate, cents = patch.vibrato
    if not cents:
        return wave_of(np.float32(hertz) * time)
    depth = hertz * (2 ** (cents / 1200) - 1) / (2 * np.pi * rate)
    fade_in = np.minimum(time * 5, 1)
    return wave_of(np.float32(hertz) * time + np.float32(depth) * fade_in * np.sin(2 * np.pi * rate * time))


def _table(patch: Patch, first: int, last: int, hertz: float) -> Wave | None:
    """Return one cycle of some harmonics below `_HIGHEST_HZ`, or None without any.

    Its first sample is repeated at its end.
    """
    last = min(last, len(patch.levels), int(_HIGHEST_HZ / hertz))
    if last < first or not any(patch.levels[first - 1 : last]):
        return None
    spectrum = np.zeros(_TABLE // 2 + 1, complex)
    loudness = np.sqrt(sum(level * level for level in patch.levels))
    for n in range(first, last + 1):
        spectrum[n] = -0.5j * _TABLE * patch.levels[n - 1] / loudness * np.exp(1.7j * n * n)
    cycle = np.fft.irfft(spectrum, _TABLE).astype(np.float32)
    return wave_of(np.append(cycle, cycle[0]))


def _look_up(table: Wave, phase: Wave) -> Wave:
    place = (phase - np.floor(phase)) * np.float32(_TABLE)
    return wave_of(table[place.astype(np.int32)])


def _band_envelope(patch: Patch, band: int, pitch: int, time: Wave) -> Wave:
    if patch.decay is not None:
        return wave_of(np.exp(time * np.float32(-1 / (patch.decay[band] * 2 ** ((60 - pitch) / 24)))))
    attack = patch.attack + patch.band_attack[band]
    return wave_of(np.minimum(time / np.float32(attack), 1))


def _noise(patch: Patch, time: Wave, rng: np.random.Generator) -> Wave:
    """Return a pick's click, or breath that lasts as long as the tone."""
    hiss = rng.standard_normal(time.size, dtype=np.float32)
    if patch.decay is not None:
        return wave_of(patch.noise * hiss * np.exp(time * np.float32(-1 / 0.012)))
    return wave_of(patch.noise * 0.5 * (hiss + np.roll(hiss, 1)) * np.exp(-time))


def _held(patch: Patch, seconds: float, time: Wave) -> Wave:
    rising = np.minimum(time / np.float32(patch.attack), 1)
    return wave_of(rising * np.exp(np.minimum(np.float32(seconds) - time, 0) / np.float32(patch.release)))
