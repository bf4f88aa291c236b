import io

import av
import numpy as np
import pytest
import soundfile

from deployments.codec.files.writing import write
from deployments.common.audio_formats import FORMATS, extension
from tests.decoded_audio import decoded
from tests.encoded_audio import music

AAC_FRAME = 1024
LENGTHS = (4_800, 48_000, 65_536, 100_001)


def written(samples: np.ndarray, audio_format: str) -> bytes:
    file = io.BytesIO()
    write(samples, audio_format, file)
    return file.getvalue()


def decoded_by_ffmpeg(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("audio_format", ["wav", "flac", "wav32", "mp3", "opus", "ogg"])
def test_files_have_the_length_of_the_samples(audio_format: str, length: int):
    content = written(music(3.0)[:, :length], audio_format)
    info = soundfile.info(io.BytesIO(content))
    assert (info.frames, info.samplerate) == (length, 48_000)
    assert decoded(content).shape == (2, length)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("audio_format", ["mp3", "opus", "wav", "flac", "wav32"])
def test_ffmpeg_finds_the_same_length(audio_format: str, length: int):
    assert decoded_by_ffmpeg(written(music(3.0)[:, :length], audio_format)) == length


@pytest.mark.parametrize("length", LENGTHS)
def test_aac_is_as_long_as_the_samples_within_one_frame(length: int):
    assert abs(decoded_by_ffmpeg(written(music(3.0)[:, :length], "aac")) - length) < AAC_FRAME


@pytest.mark.parametrize("audio_format", FORMATS)
def test_the_sound_is_in_place_and_close_to_the_samples(audio_format: str):
    song = music(2.0)
    samples = decoded(written(song, audio_format))
    samples = samples[:, : song.shape[1]]
    assert np.square(samples - song[:, : samples.shape[1]]).mean() < 0.01 * np.square(song).mean()


@pytest.mark.parametrize("audio_format", FORMATS)
def test_the_same_samples_give_the_same_bytes(audio_format: str):
    song = music(0.5)
    first = written(song, audio_format)
    # This encode advances libsndfile's random numbers.
    soundfile.write(io.BytesIO(), song.T, 48_000, format="OGG")
    second = written(song, audio_format)
    assert second == first
    assert b"PEAK" not in second  # libsndfile writes the time of day into this chunk.


@pytest.mark.parametrize(("audio_format", "bits"), [("wav", 16), ("flac", 24), ("flac", 16)])
def test_samples_of_the_files_depth_come_back_unchanged(audio_format: str, bits: int):
    full_scale = 1 << (bits - 1)
    steps = np.random.default_rng(0).integers(-full_scale, full_scale, (2, 10_000))
    samples = (steps / full_scale).astype(np.float32)
    assert np.array_equal(decoded(written(samples, audio_format)), samples)


def test_full_scale_is_clipped_and_not_wrapped():
    samples = np.full((2, 4_800), 1.5, np.float32)
    assert decoded(written(samples, "wav")).min() == pytest.approx(1.0, abs=1e-4)


def test_progress_is_reported_and_an_exception_there_ends_the_writing():
    heard: list[int] = []
    write(music(3.0), "flac", io.BytesIO(), heard.append)
    assert heard == [65_536, 131_072, 144_000]

    def stop(_samples: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write(music(3.0), "flac", io.BytesIO(), stop)


@pytest.mark.parametrize("shape", [(48_000,), (1, 48_000), (48_000, 2), (2, 0)])
def test_anything_but_stereo_samples_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"expected samples \[2, n\]"):
        write(np.zeros(shape, np.float32), "wav", io.BytesIO())


def test_formats_share_no_key_and_have_known_extensions():
    assert {name: extension(name) for name in FORMATS} == {
        "mp3": "mp3",
        "wav": "wav",
        "flac": "flac",
        "opus": "opus",
        "ogg": "ogg",
        "wav32": "wav",
        "aac": "m4a",
    }
