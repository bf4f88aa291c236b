"""Tones have the requested pitch, length and character."""

import numpy as np
import pytest

from configs.domain import SAMPLE_RATE
from training.songs.drums import KITS, kit
from training.songs.genres import FAMILIES
from training.songs.instruments import Patch, patch, tone

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("family", [*FAMILIES, "bass"])
@pytest.mark.parametrize("pitch", [45, 60, 76])
def test_a_tone_has_the_pitch_that_it_is_asked_for(family: str, pitch: int) -> None:
    wave = tone(_patch(family), pitch, 1.0, RNG)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(wave.size)))
    hertz = np.fft.rfftfreq(wave.size, 1 / SAMPLE_RATE)
    fundamental = 440 * 2 ** ((pitch - 69) / 12)
    near = np.abs(hertz / fundamental - 1) < 0.03
    between = np.abs(hertz / (1.5 * fundamental) - 1) < 0.1
    assert spectrum[near].max() > 10 * spectrum[between].max()


def _patch(family: str) -> Patch:
    return patch(family, np.random.default_rng(5))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tone_ends_when_it_is_released(family: str) -> None:
    made = _patch(family)
    wave = tone(made, 60, 0.5, RNG)
    tail = wave[-round(0.2 * made.release * SAMPLE_RATE) :]
    assert np.abs(tail).max() < 0.1 * np.abs(wave).max()


def test_plucked_tones_die_away_and_blown_ones_do_not() -> None:
    def left_after_a_second(family: str) -> float:
        wave = tone(_patch(family), 60, 1.5, RNG)
        early, late = (np.abs(wave[round(at * SAMPLE_RATE) :][:4800]).max() for at in (0.2, 1.2))
        return late / early

    assert left_after_a_second("guitar") < 0.4
    assert left_after_a_second("organ") > 0.8


@pytest.mark.parametrize("kind", KITS)
def test_kicks_are_low_and_cymbals_high(kind: str) -> None:
    def centre(wave: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(wave)) ** 2
        return float((np.fft.rfftfreq(wave.size, 1 / SAMPLE_RATE) * power).sum() / power.sum())

    drums = kit(kind, np.random.default_rng(1))
    assert centre(drums["kick"]) < 200
    assert 1000 < centre(drums["snare"]) < centre(drums["hat"])
