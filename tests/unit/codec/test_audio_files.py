import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from deployments.common.stored_recordings import AudioFileError, header, largest_file, read
from tests.decoded_audio import stored_recording
from tests.encoded_audio import music, sound_file


def written(folder: Path, content: bytes) -> Path:
    path = folder / "source"
    path.write_bytes(content)
    return path


def test_what_is_stored_comes_back_sample_for_sample(tmp_path: Path):
    song = music(0.5)
    samples = read(written(tmp_path, stored_recording(song)))
    assert samples.dtype == np.float32
    assert samples.flags.c_contiguous
    assert np.array_equal(samples, song)


def test_a_stored_recording_is_a_wav_for_everybody():
    song = music(0.5)
    with soundfile.SoundFile(io.BytesIO(stored_recording(song))) as sound:
        assert (sound.format, sound.subtype, sound.samplerate) == ("WAV", "FLOAT", 48_000)
        assert np.array_equal(sound.read(dtype="float32").T, song)


def test_a_file_of_the_longest_recording_is_no_longer_than_is_said():
    assert len(stored_recording(np.zeros((2, 5 * 48_000), np.float32))) <= largest_file(5.0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(header(0), id="no samples"),
        pytest.param(header(1), id="samples missing"),
        pytest.param(stored_recording(music(0.1))[:-8], id="cut"),
        pytest.param(stored_recording(music(0.1)) + b"\0", id="a byte too much"),
        pytest.param(sound_file(music(0.1), "WAV", "FLOAT"), id="another WAV"),
        pytest.param(sound_file(music(0.1), "FLAC", "PCM_16"), id="FLAC"),
    ],
)
def test_any_other_file_is_refused(tmp_path: Path, content: bytes):
    with pytest.raises(AudioFileError, match="is not a recording that this version of the server has stored"):
        read(written(tmp_path, content))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5, -1.5])
def test_samples_that_cannot_be_are_refused(tmp_path: Path, value: float):
    content = bytearray(stored_recording(music(0.1)))
    struct.pack_into("<f", content, len(content) - 400, value)
    with pytest.raises(AudioFileError, match="beyond full scale"):
        read(written(tmp_path, bytes(content)))
