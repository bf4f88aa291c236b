import math

import numpy as np
import pytest

from serve_app.recordings.resampling import Resampler

RATES = [(44_100, 48_000), (22_050, 48_000), (16_000, 48_000), (8_000, 48_000), (96_000, 48_000)]


def resample(samples: np.ndarray, from_rate: int, to_rate: int, block: int = 4_096) -> np.ndarray:
    resampler = Resampler(from_rate, to_rate)
    starts = range(0, samples.shape[1], block)
    pushed = [resampler.push(samples[:, start : start + block]) for start in starts]
    return np.concatenate([*pushed, resampler.finish()], axis=1)


def sinc_interp_hann(
    samples: np.ndarray, from_rate: int, to_rate: int, width: int = 6, rolloff: float = 0.99
) -> np.ndarray:
    """The original model's filter, written out: each output is a sum of windowed sincs around its time."""
    cutoff = min(from_rate, to_rate) * rolloff
    times = np.arange(math.ceil(samples.size * to_rate / from_rate)) / to_rate
    reach = math.ceil(width * from_rate / cutoff)
    first = np.floor(times * from_rate).astype(int) - reach
    taps = first[:, None] + np.arange(2 * reach + 2)
    lobes = (taps / from_rate - times[:, None]) * cutoff
    window = np.where(np.abs(lobes) < width, np.cos(lobes * math.pi / width / 2) ** 2, 0)
    inside = (taps >= 0) & (taps < samples.size)
    values = np.where(inside, samples[taps.clip(0, samples.size - 1)], 0)
    return (values * np.sinc(lobes) * window).sum(axis=1) * cutoff / from_rate


def noise_below(hertz: float, length: int, sample_rate: int) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(length))
    spectrum[np.fft.rfftfreq(length, 1 / sample_rate) > hertz] = 0
    noise = np.fft.irfft(spectrum, length) * np.hanning(length)
    return (noise / np.abs(noise).max()).astype(np.float32)


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
def test_up_to_half_of_nyquist_it_is_the_original_filter_to_60_db(from_rate: int, to_rate: int):
    sound = noise_below(min(from_rate, to_rate) / 4, from_rate // 4, from_rate)
    reference = sinc_interp_hann(sound.astype(np.float64), from_rate, to_rate)
    resampled = resample(np.stack([sound, -sound]), from_rate, to_rate)
    assert resampled.dtype == np.float32
    for channel, sign in zip(resampled, (1, -1), strict=True):
        error = np.square(channel * sign - reference).mean() / np.square(reference).mean()
        assert 10 * math.log10(error) <= -60


@pytest.mark.parametrize(("from_rate", "to_rate"), [*RATES, (44_101, 48_000), (48_000, 44_100)])
@pytest.mark.parametrize("length", [1, 999, 10_007])
def test_the_length_is_that_of_the_original_filter(from_rate: int, to_rate: int, length: int):
    resampled = resample(np.ones((2, length), np.float32), from_rate, to_rate)
    assert resampled.shape == (2, math.ceil(length * to_rate / from_rate))


@pytest.mark.parametrize(("from_rate", "to_rate"), [*RATES, (44_101, 48_000)])
def test_how_the_stream_is_cut_changes_nothing(from_rate: int, to_rate: int):
    sound = np.stack([noise_below(from_rate / 3, from_rate // 4, from_rate)] * 2)
    whole = resample(sound, from_rate, to_rate, block=sound.shape[1])
    assert np.abs(resample(sound, from_rate, to_rate, block=501) - whole).max() < 1e-6


def test_at_the_same_rate_nothing_changes():
    samples = np.random.default_rng(0).standard_normal((2, 1_000)).astype(np.float32)
    assert np.array_equal(resample(samples, 48_000, 48_000), samples)
