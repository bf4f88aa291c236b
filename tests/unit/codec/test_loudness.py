"""How far a quiet source is amplified before the model hears it."""

import numpy as np
import pytest

from deployments.codec.files.loudness import TARGET_PEAK, USUAL_LEVEL, gain_to_usual_level, peak
from tests.encoded_audio import Samples, music

RATE = 48_000
WINDOW = (12.0, 14.0)
SECONDS = 30.0


def noise(level: float, seconds: float = SECONDS) -> Samples:
    """Return noise whose root mean square is `level`."""
    drawn = np.random.default_rng(0).standard_normal((2, round(seconds * RATE)))
    return (level * drawn).astype(np.float32)


@pytest.mark.parametrize("decibels", [-20.0, -40.0, -80.0])
def test_a_quiet_source_is_brought_to_the_usual_level(decibels: float):
    quiet = noise(USUAL_LEVEL) * np.float32(10 ** (decibels / 20))
    assert gain_to_usual_level(quiet, *WINDOW) == pytest.approx(10 ** (-decibels / 20), rel=0.01)


@pytest.mark.parametrize("level", [1.0, 1.5, 3.0])
def test_a_source_of_usual_level_or_above_stays_as_it_is(level: float):
    assert gain_to_usual_level(noise(level * USUAL_LEVEL).clip(-1, 1), *WINDOW) == pytest.approx(
        1.0, rel=0.01
    )


def test_a_song_of_this_server_stays_as_it_is():
    song = music(SECONDS)
    song *= np.float32(TARGET_PEAK / peak(song))
    assert gain_to_usual_level(song, *WINDOW) == 1.0


def test_no_sample_is_brought_above_the_peak_of_songs():
    quiet = noise(0.01)
    quiet[0, 5] = 0.5
    assert gain_to_usual_level(quiet, *WINDOW) == pytest.approx(TARGET_PEAK / 0.5)


def test_the_window_itself_and_what_is_far_from_it_do_not_count():
    source = noise(0.01)
    for first, last in ((12, 14), (0, 1.9), (24.1, 30)):
        source[:, round(first * RATE) : round(last * RATE)] = 0
    expected = gain_to_usual_level(source, *WINDOW)
    for first, last in ((12, 14), (0, 1.9), (24.1, 30)):
        source[:, round(first * RATE) : round(last * RATE)] = noise(0.1, last - first)[
            :, : round(last * RATE) - round(first * RATE)
        ]
    assert gain_to_usual_level(source, *WINDOW) == min(expected, TARGET_PEAK / peak(source))


def test_pauses_do_not_count():
    source = noise(0.01)
    expected = gain_to_usual_level(source, *WINDOW)
    source[:, 15 * RATE : 22 * RATE] = noise(0.0005, 7.0)
    assert gain_to_usual_level(source, *WINDOW) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("window", [(0.0, SECONDS), (5.0, 6.0)])
def test_without_audible_surroundings_nothing_is_turned_up(window: tuple[float, float]):
    source = noise(0.01)
    if window != (0.0, SECONDS):
        source[:, : 16 * RATE] = 0
    assert gain_to_usual_level(source, *window) == 1.0
