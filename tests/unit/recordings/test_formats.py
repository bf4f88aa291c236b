"""Every container and codec that the server lists."""

import io

import av
import numpy as np
import pytest
import soundfile

from serve_app.recordings.decoding import CODECS, CONTAINERS
from tests.decoded_audio import converted
from tests.encoded_audio import ffmpeg_file, music, sound_file

RATE = 48_000
SECONDS = 1.0
LENGTH = round(SECONDS * RATE)

SOUND_FILES = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ALAW"),
    ("WAV", "ULAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_24"),
    ("W64", "PCM_24"),
    ("AIFF", "PCM_S8"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_24"),
    ("AIFF", "PCM_32"),
    ("AIFF", "FLOAT"),
    ("AIFF", "DOUBLE"),
    ("AIFF", "IMA_ADPCM"),
    ("AU", "PCM_16"),
    ("AU", "FLOAT"),
    ("CAF", "PCM_24"),
    ("CAF", "FLOAT"),
    ("CAF", "ALAC_16"),
    ("CAF", "ALAC_24"),
    ("FLAC", "PCM_S8"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
"""Formats that libsndfile writes and reads. It is an independent implementation."""
EXACT = {subtype for _, subtype in SOUND_FILES} - {"IMA_ADPCM", "VORBIS", "OPUS", "MPEG_LAYER_III"}

# The columns are container, codec, and the samples of encoder delay that the file does not record.
FFMPEG_FILES = [
    ("ac3", "ac3", 256),
    ("adts", "aac", 1_024),
    ("asf", "wmav1", -2_048),  # FFmpeg's decoder removes a delay that FFmpeg's encoder does not add.
    ("asf", "wmav2", -2_048),
    ("eac3", "eac3", 256),
    ("flac", "flac", 0),
    ("flv", "aac", 1_024),
    ("flv", "libmp3lame", 1_105),
    ("ipod", "aac", 0),
    ("ipod", "alac", 0),
    ("matroska", "aac", 0),
    ("matroska", "flac", 0),
    ("matroska", "libopus", 0),
    ("matroska", "pcm_f32le", 0),
    ("mov", "pcm_s16be", 0),
    ("mov", "pcm_s24le", 0),
    ("mp2", "mp2", 481),
    ("mp3", "libmp3lame", 0),
    ("mp4", "flac", 0),
    ("mp4", "libmp3lame", 0),
    ("mp4", "libopus", 0),
    ("mpegts", "aac", 1_024),
    ("mpegts", "ac3", 256),
    ("mpegts", "mp2", 481),
    ("ogg", "flac", 0),
    ("ogg", "libopus", 0),
    ("wav", "ac3", 256),
    ("wav", "libmp3lame", 1_105),
    ("webm", "libopus", 0),
]
LONGEST_FRAME = 2_048
"""Encoders fill their last frame, or drop the one that their delay adds."""
UNTESTED = {"mp1", "mp1float", "mp2float", "mp3", "wmapro"}
"""Decoders for which FFmpeg has no encoder, or prefers another decoder of the same format."""


def is_close(samples: np.ndarray, song: np.ndarray) -> bool:
    return bool(np.square(samples - song).mean() < 0.01 * np.square(song).mean())


@pytest.mark.parametrize(("container", "subtype"), SOUND_FILES)
def test_a_file_of_libsndfile_has_the_samples_that_libsndfile_reads(container: str, subtype: str):
    content = sound_file(music(SECONDS), container, subtype)
    samples, outcome = converted(content)
    expected = soundfile.read(io.BytesIO(content), dtype="float32")[0].T
    assert not outcome.damaged
    assert samples.shape == expected.shape
    rounding = 0.0 if subtype in EXACT else 5e-3
    assert np.abs(samples - expected.clip(-1, 1)).max() <= rounding


@pytest.mark.parametrize(("container", "codec", "delay"), FFMPEG_FILES)
def test_a_file_of_ffmpeg_has_the_song_at_its_place(container: str, codec: str, delay: int):
    song = music(SECONDS)
    samples, outcome = converted(ffmpeg_file(song, container, codec))
    assert not outcome.damaged
    samples, song = samples[:, max(0, delay) :], song[:, max(0, -delay) :]
    assert abs(samples.shape[1] - song.shape[1]) < LONGEST_FRAME
    compared = min(samples.shape[1], song.shape[1]) - LONGEST_FRAME
    assert is_close(samples[:, :compared], song[:, :compared])


def test_whatever_is_listed_is_tested():
    """Every demuxer and decoder in the lists has a test file of its kind."""
    tested: set[str] = set(UNTESTED)
    for content in [
        *(sound_file(music(0.1), *kind) for kind in SOUND_FILES),
        *(ffmpeg_file(music(0.1), container, codec) for container, codec, _ in FFMPEG_FILES),
    ]:
        tested |= demuxer_and_decoder(content)
    assert tested >= {*CONTAINERS, *CODECS}


def demuxer_and_decoder(content: bytes) -> set[str]:
    with av.open(io.BytesIO(content), mode="r") as container:
        return {*container.format.name.split(","), container.streams.audio[0].codec_context.codec.name}
