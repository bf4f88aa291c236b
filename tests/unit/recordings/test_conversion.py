"""Conversion of a file of any rate to stereo of 48 kHz."""

import numpy as np
import pytest

from serve_app.recordings.errors import RecordingError
from tests.decoded_audio import converted, decoded
from tests.encoded_audio import music, sound_file


@pytest.mark.parametrize("rate", [2_000, 8_000, 11_025, 22_050, 32_000, 44_100, 88_200, 96_000, 192_000])
def test_every_rate_becomes_48_khz(rate: int):
    samples = decoded(sound_file(music(1.0, rate), "WAV", "FLOAT", rate))
    assert samples.shape == (2, 48_000)
    assert np.abs(samples - music(1.0))[0, 1_000:-1_000].max() < 1e-3


@pytest.mark.parametrize("rate", [1_999, 192_001, 384_000])
def test_other_rates_are_refused(rate: int):
    with pytest.raises(RecordingError, match=f"has a sample rate of {rate} Hz, not 2000 to 192000 Hz"):
        decoded(sound_file(music(0.1), "WAV", "FLOAT", rate))


def test_silence_is_seen():
    assert converted(sound_file(music(0.5) * 0, "WAV", "PCM_16"))[1].silent
    assert not converted(sound_file(music(0.5) * 1e-4, "WAV", "PCM_16"))[1].silent
