"""Files as radio captures, taggers, broken downloads and careless programs write them."""

import io
import struct
from functools import cache

import numpy as np
import pytest
import soundfile

from serve_app.recordings.errors import RecordingError
from tests.decoded_audio import converted, decoded
from tests.encoded_audio import ffmpeg_file, music, sound_file
from tests.ogg_pages import captured_live, pages

RATE = 48_000
SECONDS = 4.0

SONG = music(SECONDS)
LINKS = {
    "vorbis": lambda: sound_file(music(2.0), "OGG", "VORBIS"),
    "short vorbis": lambda: sound_file(music(0.3), "OGG", "VORBIS"),
    "mono vorbis of 44.1 kHz": lambda: sound_file(music(2.0, 44_100)[:1], "OGG", "VORBIS", 44_100),
    "opus": lambda: sound_file(music(2.0), "OGG", "OPUS"),
    "flac": lambda: ffmpeg_file(music(2.0), "ogg", "flac"),
}
WHOLE = {
    "wav": lambda: sound_file(SONG, "WAV", "PCM_16"),
    "aiff": lambda: sound_file(SONG, "AIFF", "PCM_16"),
    "flac": lambda: sound_file(SONG, "FLAC", "PCM_16"),
    "mp3": lambda: sound_file(SONG, "MP3", "MPEG_LAYER_III"),
    "ogg": lambda: sound_file(SONG, "OGG", "VORBIS"),
    "opus": lambda: sound_file(SONG, "OGG", "OPUS"),
    "webm": lambda: ffmpeg_file(SONG, "webm", "libopus"),
    "aac": lambda: ffmpeg_file(SONG, "adts", "aac"),
}


@cache
def link_file(name: str) -> bytes:
    return LINKS[name]()


@cache
def song_file(name: str) -> bytes:
    return WHOLE[name]()


@pytest.mark.parametrize(
    "names",
    [
        ("vorbis", "vorbis"),
        ("opus", "opus"),
        ("flac", "flac"),
        ("vorbis", "opus", "vorbis"),
        ("vorbis", "mono vorbis of 44.1 kHz", "opus"),
        ("short vorbis", "short vorbis", "short vorbis"),
    ],
    ids=" + ".join,
)
def test_all_links_of_a_chained_ogg_are_read(names: tuple[str, ...]):
    links = [link_file(name) for name in names]
    samples, outcome = converted(b"".join(links))
    assert not outcome.damaged
    assert np.array_equal(samples, np.concatenate([decoded(link) for link in links], axis=1))


def test_of_a_chained_ogg_the_links_are_read_that_can_be():
    broken = b"".join([*pages(link_file("vorbis"))][:2])  # These pages are its headers.
    samples, outcome = converted(link_file("opus") + broken + link_file("flac"))
    assert outcome.damaged
    assert samples.shape == (2, 4 * RATE)


@pytest.mark.parametrize("samples_before", [1, 312, 12_345, 172_800_000, 1 << 50])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_stream_that_was_running_already_is_read_like_one_that_was_not(subtype: str, samples_before: int):
    content = sound_file(SONG, "OGG", subtype)
    assert np.array_equal(decoded(captured_live(content, samples_before)), decoded(content))


@pytest.mark.parametrize("bit_rate", [6_000, 64_000, 256_000, 510_000])
def test_opus_of_every_bit_rate_is_read(bit_rate: int):
    content = ffmpeg_file(SONG, "ogg", "libopus", options={"b": str(bit_rate)})
    samples, outcome = converted(content)
    assert not outcome.damaged
    assert samples.shape == (2, round(SECONDS * RATE))


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_file_that_was_cut_the_beginning_is_read(name: str):
    content = song_file(name)
    cut, whole = decoded(content[: len(content) // 2]), decoded(content)
    assert 0.2 < cut.shape[1] / whole.shape[1] < 0.55
    compared = cut.shape[1] - 2_048  # Lossy codecs fade into the missing part.
    assert np.abs(cut[:, :compared] - whole[:, :compared]).max() < 1e-4


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_lost_in_the_middle_costs_no_more(name: str):
    content = bytearray(song_file(name))
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    assert decoded(bytes(content)).shape[1] > 0.5 * SECONDS * RATE


def id3_tag(size: int, footer: bool = False) -> bytes:
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    head = b"\x04\0" + (b"\x10" if footer else b"\0") + length
    return b"ID3" + head + bytes(size) + (b"3DI" + head if footer else b"")


@pytest.mark.parametrize(
    "tag",
    [id3_tag(100_000), id3_tag(100_000) * 2, id3_tag(3_000_000), id3_tag(10, footer=True), id3_tag(0)],
    ids=["100 kB", "two", "3 MB", "with a footer", "empty"],
)
@pytest.mark.parametrize("name", [*WHOLE, "m4a"])
def test_tags_in_front_of_any_file_are_skipped(name: str, tag: bytes):
    content = ffmpeg_file(SONG, "ipod", "alac") if name == "m4a" else song_file(name)
    assert np.array_equal(decoded(tag + content), decoded(content))


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def wav_of(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, RATE, RATE * 4, 4, 16))
PCM = (music(1.0).T * 32_767).astype("<i2").tobytes()
DATA = chunk(b"data", PCM)
LIST = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 6) + b"Lavf58")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(wav_of(FORMAT, DATA), id="plain"),
        pytest.param(wav_of(chunk(b"JUNK", bytes(28)), FORMAT, DATA), id="JUNK in front"),
        pytest.param(wav_of(chunk(b"bext", bytes(603)), FORMAT, DATA), id="bext of an odd length"),
        pytest.param(wav_of(FORMAT, LIST, DATA, LIST), id="LIST on both sides"),
        pytest.param(wav_of(FORMAT, DATA, chunk(b"id3 ", id3_tag(500))), id="ID3 chunk"),
        pytest.param(wav_of(FORMAT, chunk(b"data", PCM + b"\0")), id="half a sample too much"),
        pytest.param(wav_of(FORMAT, b"data" + bytes(4) + PCM), id="0 bytes claimed, as in a pipe"),
        pytest.param(wav_of(FORMAT, b"data\xff\xff\xff\xff" + PCM), id="4 GB claimed, as in a pipe"),
        pytest.param(b"RIFF\0\0\0\0" + wav_of(FORMAT, DATA)[8:], id="RIFF of 0 bytes"),
        pytest.param(b"RIFF\xff\xff\xff\xff" + wav_of(FORMAT, DATA)[8:], id="RIFF of 4 GB"),
    ],
)
def test_wav_headers_of_all_kinds(content: bytes):
    samples, outcome = converted(content)
    assert not outcome.damaged
    assert np.array_equal(samples[:, :RATE], np.frombuffer(PCM, "<i2").reshape(-1, 2).T / np.float32(32_768))
    assert samples.shape[1] == RATE


def test_mp3_without_a_length_header_is_read_to_its_end():
    quiet_then_loud = np.concatenate([music(3.0) * 0.001, music(3.0)], axis=1)
    mp3 = sound_file(quiet_then_loud, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.5)
    without_header = mp3[mp3.index(b"\xff\xfb", mp3.index(b"Xing")) :]
    assert decoded(without_header).shape[1] == pytest.approx(6.0 * RATE, abs=0.05 * RATE)


def test_flac_without_a_length_is_read_to_its_end():
    flac = bytearray(sound_file(music(1.0), "FLAC", "PCM_16"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    assert decoded(bytes(flac)).shape[1] == RATE


def test_junk_after_an_mp3_is_skipped():
    tagged = sound_file(music(1.0), "MP3", "MPEG_LAYER_III") + np.random.default_rng(0).bytes(3_000)
    assert decoded(tagged).shape[1] == pytest.approx(RATE, abs=0.05 * RATE)


_GARBAGE = np.random.default_rng(7).bytes(100_000)


def wav_with(offset: int, layout: str, value: int) -> bytes:
    wav = bytearray(sound_file(music(0.5), "WAV", "PCM_16"))
    struct.pack_into(layout, wav, offset, value)
    return bytes(wav)


def float_wav_with(value: float) -> bytes:
    song = music(0.5)
    song[0, 1_000] = value
    return sound_file(song, "WAV", "FLOAT")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(id3_tag(1_000), "is empty", id="a tag and nothing else"),
        pytest.param(b"\0", "is not audio", id="one byte"),
        pytest.param(_GARBAGE, "is not audio", id="garbage"),
        pytest.param(bytes(100_000), "is not audio", id="zeros"),
        pytest.param(b"hello world " * 999, "is not audio", id="text"),
        pytest.param(b"\xff\xfb\x90\x00" * 999, "audio|damaged", id="MP3 headers"),
        pytest.param(b"OggS" * 999, "is not audio", id="Ogg marks"),
        pytest.param(b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "is not audio", id="playlist"),
        pytest.param(b"ffconcat version 1.0\nfile /etc/passwd\n", "is not audio", id="concat script"),
        pytest.param(sound_file(music(0.5), "WAV", "PCM_16")[:40], "audio", id="cut WAV header"),
        pytest.param(sound_file(music(0.5)[:, :0], "WAV", "PCM_16"), "contains no audio", id="no samples"),
        pytest.param(wav_with(22, "<H", 0), "cannot be decoded", id="no channels"),
        pytest.param(wav_with(24, "<I", 0), "audio", id="0 Hz"),
        pytest.param(wav_with(24, "<I", 1), "sample rate of 1 Hz", id="1 Hz"),
        pytest.param(wav_with(24, "<I", 2_000_000_000), "not 2000 to 192000 Hz", id="2 GHz"),
        pytest.param(float_wav_with(np.nan), "not finite", id="NaN"),
        pytest.param(float_wav_with(np.inf), "not finite", id="infinity"),
        pytest.param(sound_file(music(0.5, 8_000)[:1], "WAV", "GSM610", 8_000), "gsm_ms", id="GSM"),
        pytest.param(ffmpeg_file(music(0.5), "nut", "flac"), "is not audio", id="a container not listed"),
        pytest.param(ffmpeg_file(music(0.5), "matroska", "wavpack"), "wavpack", id="a codec not listed"),
    ],
)
def test_what_is_no_recording_is_refused_in_words(content: bytes, complaint: str):
    with pytest.raises(RecordingError, match=complaint):
        decoded(content)


def test_a_file_of_which_most_is_lost_is_refused():
    content = bytearray(ffmpeg_file(SONG, "ipod", "aac"))
    start = content.index(b"mdat") + 4
    content[start : start + 40_000] = np.random.default_rng(0).bytes(40_000)
    with pytest.raises(RecordingError, match="most of it cannot be decoded"):
        decoded(bytes(content))


def test_reading_stops_at_the_longest_allowed_recording():
    minutes = io.BytesIO()
    with soundfile.SoundFile(minutes, "w", 8_000, 1, format="FLAC") as sound:
        for _ in range(3):
            sound.write(np.zeros(8_000 * 60, np.int16))
    assert decoded(minutes.getvalue(), max_seconds=180).shape[1] == 180 * RATE
    with pytest.raises(RecordingError, match="is longer than 179 seconds"):
        decoded(minutes.getvalue(), max_seconds=179)
