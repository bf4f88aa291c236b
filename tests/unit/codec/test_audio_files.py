import io
import struct

import numpy as np
import pytest
import soundfile

from deployments.codec.audio_files import MAX_SAMPLE_RATE, AudioFileError, probe, read
from tests.encoded_audio import ffmpeg_file, music, sound_file


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_24"),
        ("AIFF", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_recordings_of_libsndfile_are_read_whole(container: str, subtype: str):
    song = music(2.0)
    file = io.BytesIO(sound_file(song, container, subtype))
    info = probe(file)
    assert (info.seconds, info.channels, info.sample_rate, info.silent) == (2.0, 2, 48_000, False)
    samples, sample_rate = read(file)
    assert (samples.shape, samples.dtype, sample_rate) == (song.shape, np.float32, 48_000)
    assert np.abs(samples - song).max() < 0.15


@pytest.mark.parametrize(
    ("container", "codec", "priming"),
    [("ipod", "aac", 1024), ("adts", "aac", 2048), ("webm", "libopus", 0), ("ipod", "alac", 0)],
)
def test_recordings_that_only_ffmpeg_knows_are_read(container: str, codec: str, priming: int):
    file = io.BytesIO(ffmpeg_file(music(2.0), container, codec))
    info = probe(file)
    assert 0 <= round(info.seconds * 48_000) - 96_000 <= priming
    assert (info.channels, info.sample_rate, info.silent) == (2, 48_000, False)
    assert read(file)[0].shape == (2, round(info.seconds * 48_000))


def test_a_local_path_is_read_whatever_its_name(tmp_path):
    for name in ("song.wav", "song.raw", "song.mp3", "song"):
        path = tmp_path / name
        path.write_bytes(sound_file(music(0.5), "WAV", "PCM_16"))
        assert probe(path).seconds == probe(str(path)).seconds == 0.5


def test_mp3_without_a_length_header_is_read_to_its_end():
    quiet_then_loud = np.concatenate([music(3.0) * 0.001, music(3.0)], axis=1)
    mp3 = sound_file(quiet_then_loud, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.5)
    without_header = mp3[mp3.index(b"\xff\xfb", mp3.index(b"Xing")) :]
    assert probe(io.BytesIO(without_header)).seconds == pytest.approx(6.0, abs=0.05)


def test_streamed_files_without_a_length_are_read_to_their_end():
    flac = bytearray(sound_file(music(1.0), "FLAC", "PCM_16"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    wav = bytearray(sound_file(music(1.0), "WAV", "PCM_16"))
    wav[40:44] = bytes(4)
    for file in (flac, wav):
        assert probe(io.BytesIO(file)).seconds == 1.0


def test_junk_after_an_mp3_is_skipped():
    tagged = sound_file(music(1.0), "MP3", "MPEG_LAYER_III") + np.random.default_rng(0).bytes(3000)
    assert probe(io.BytesIO(tagged)).seconds == pytest.approx(1.0, abs=0.05)


def test_of_many_channels_the_first_two_are_read():
    channels = np.stack([music(0.5)[0] * gain for gain in (0.5, 0.25, 1.0)])
    file = io.BytesIO(sound_file(channels, "WAV", "FLOAT"))
    assert probe(file).channels == 3
    assert np.array_equal(read(file)[0], channels[:2])


def test_silence_is_seen():
    assert probe(io.BytesIO(sound_file(music(0.5) * 0, "WAV", "PCM_16"))).silent
    assert not probe(io.BytesIO(sound_file(music(0.5) * 1e-4, "WAV", "PCM_16"))).silent


def _wav_with(offset: int, layout: str, value: int) -> bytes:
    wav = bytearray(sound_file(music(0.5), "WAV", "PCM_16"))
    struct.pack_into(layout, wav, offset, value)
    return bytes(wav)


def _float_wav_with(value: float) -> bytes:
    song = music(0.5)
    song[0, 1000] = value
    return sound_file(song, "WAV", "FLOAT")


_GARBAGE = np.random.default_rng(7).bytes(100_000)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\0", "is not audio", id="one byte"),
        pytest.param(_GARBAGE, "is not audio", id="garbage"),
        pytest.param(bytes(100_000), "is not audio", id="zeros"),
        pytest.param(b"hello world " * 999, "is not audio", id="text"),
        pytest.param(b"\xff\xfb\x90\x00" * 999, "audio", id="MP3 headers"),
        pytest.param(b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "is not audio", id="playlist"),
        pytest.param(b"ffconcat version 1.0\nfile /etc/passwd\n", "is not audio", id="concat script"),
        pytest.param(sound_file(music(0.5), "FLAC", "PCM_16")[:8_000], "is damaged", id="cut FLAC"),
        pytest.param(sound_file(music(0.5), "WAV", "PCM_16")[:40], "is not audio", id="cut WAV header"),
        pytest.param(sound_file(music(0.5)[:, :0], "WAV", "PCM_16"), "contains no audio", id="no samples"),
        pytest.param(_wav_with(22, "<H", 0), "is damaged", id="no channels"),
        pytest.param(_wav_with(24, "<I", 0), "audio", id="0 Hz"),
        pytest.param(_wav_with(24, "<I", 1), "sample rate of 1 Hz", id="1 Hz"),
        pytest.param(_wav_with(24, "<I", 2_000_000_000), f"not 2000 to {MAX_SAMPLE_RATE} Hz", id="2 GHz"),
        pytest.param(_float_wav_with(np.nan), "not finite", id="NaN"),
        pytest.param(_float_wav_with(np.inf), "not finite", id="infinity"),
    ],
)
def test_what_is_no_recording_is_an_audio_file_error(content: bytes, complaint: str):
    for look in (probe, read):
        with pytest.raises(AudioFileError, match=complaint):
            look(io.BytesIO(content))


@pytest.mark.parametrize(
    ("container", "codec"), [("ipod", "aac"), ("adts", "aac"), ("webm", "libopus"), ("mpegts", "aac")]
)
def test_files_with_flipped_bytes_are_read_or_refused_but_never_crash(container: str, codec: str):
    whole = ffmpeg_file(music(0.3), container, codec)
    chance = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(whole)
        for place in chance.integers(0, len(broken), 10):
            broken[place] = chance.integers(256)
        try:
            samples, sample_rate = read(io.BytesIO(broken))
        except AudioFileError:
            continue
        assert probe(io.BytesIO(broken)).seconds == samples.shape[1] / sample_rate


def test_a_header_that_promises_too_much_is_not_believed():
    assert probe(io.BytesIO(_wav_with(40, "<I", 0xFFFFFFF0))).seconds == 0.5


def test_reading_stops_at_the_longest_allowed_recording():
    years = io.BytesIO()
    with soundfile.SoundFile(years, "w", 8_000, 1, format="FLAC") as sound:
        for _ in range(20):
            sound.write(np.zeros(8_000 * 60, np.int16))
    assert probe(years, max_seconds=1_200).seconds == 1_200
    with pytest.raises(AudioFileError, match="is longer than 1199 seconds"):
        probe(years, max_seconds=1_199)
