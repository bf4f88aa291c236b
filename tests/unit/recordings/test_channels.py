"""Every channel layout is mixed to stereo as ITU-R BS.775 defines, in every format."""

import struct

import av
import numpy as np
import pytest

from serve_app.recordings.downmix import stereo
from serve_app.recordings.errors import RecordingError
from tests.decoded_audio import decoded
from tests.encoded_audio import ffmpeg_file, sound_file

RATE = 48_000
LAYOUTS_OF_FFMPEG = """mono stereo downmix 2.1 3.0 3.0(back) 3.1 3.1.2 4.0 4.1 quad quad(side) 5.0 5.0(side)
5.1 5.1(side) 5.1.2 5.1.2(back) 6.0 6.0(front) hexagonal 6.1 6.1(back) 6.1(front) 7.0 7.0(front) 7.1 7.1(wide)
7.1(wide-side) octagonal cube"""
LEVEL = 0.2
SIDE = 0.5**0.5
GAINS = {
    "FL": (1, 0),
    "FR": (0, 1),
    "FC": (SIDE, SIDE),
    "LFE": (0, 0),
    "BL": (SIDE, 0),
    "BR": (0, SIDE),
    "SL": (SIDE, 0),
    "SR": (0, SIDE),
    "BC": (0.5, 0.5),
}
"""The gains of ITU-R BS.775, written down independently."""
LAYOUTS = {
    "3.0": "FL FR FC",
    "quad": "FL FR BL BR",
    "5.0": "FL FR FC BL BR",
    "5.1": "FL FR FC LFE BL BR",
    "6.1": "FL FR FC LFE BC SL SR",
    "7.1": "FL FR FC LFE BL BR SL SR",
}
UNNAMED = {len(names.split()): names for names in LAYOUTS.values()}
XIPH_ORDER = {
    3: "FL FC FR",
    4: "FL FR BL BR",
    5: "FL FC FR BL BR",
    6: "FL FC FR BL BR LFE",
    7: "FL FC FR SL SR BC LFE",
    8: "FL FC FR SL SR BL BR LFE",
}
"""The order in which Vorbis and Opus store channels and libsndfile returns them."""


def pitch(name: str) -> int:
    """Return a frequency in Hz that is low enough for the LFE channel of lossy codecs."""
    return 40 + 10 * [*GAINS].index(name)


def tones(names: str) -> np.ndarray:
    """Return [channels, n]: in each channel a sine of its own pitch."""
    time = np.arange(RATE) / RATE
    sines = [np.sin(2 * np.pi * pitch(name) * time) for name in names.split()]
    return (LEVEL * np.stack(sines)).astype(np.float32)


def heard(samples: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return how loud each channel's pitch is on the left and on the right."""
    middle = samples[:, RATE // 4 : RATE // 4 + RATE // 2]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(RATE // 2))) / (RATE // 8) / LEVEL
    return {name: tuple(spectrum[:, pitch(name) // 2]) for name in GAINS}


def is_mix_of(samples: np.ndarray, names: str) -> bool:
    found = heard(samples)
    expected = {name: GAINS[name] if name in names.split() else (0, 0) for name in GAINS}
    return all(found[name] == pytest.approx(expected[name], abs=0.06) for name in GAINS)


WRITTEN_BY_FFMPEG = [  # Layouts that FFmpeg's encoders do not know, or mix up, are left out.
    *(("wav", "pcm_s24le", layout) for layout in LAYOUTS),
    *(("mov", "pcm_s16be", layout) for layout in LAYOUTS),
    *(("flac", "flac", layout) for layout in LAYOUTS),
    *(("webm", "libopus", layout) for layout in ("3.0", "quad", "5.1", "7.1")),
    *(("ipod", "alac", layout) for layout in ("3.0", "5.0", "5.1")),
    *(("ipod", "aac", layout) for layout in ("3.0", "5.0", "5.1")),
    ("mp4", "ac3", "5.1(side)"),
]


@pytest.mark.parametrize(("container", "codec", "layout"), WRITTEN_BY_FFMPEG)
def test_layouts_that_ffmpeg_writes(container: str, codec: str, layout: str):
    names = LAYOUTS.get(layout, "FL FR FC LFE SL SR")
    content = ffmpeg_file(tones(names), container, codec, layout=layout, options={"b": "512000"})
    assert is_mix_of(decoded(content), names)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("channels", XIPH_ORDER)
def test_ogg_has_an_order_of_its_own(subtype: str, channels: int):
    names = XIPH_ORDER[channels]
    assert is_mix_of(decoded(sound_file(tones(names), "OGG", subtype)), names)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "CAF", "W64", "AU"])
@pytest.mark.parametrize("channels", UNNAMED)
def test_channels_without_names_count_as_flac_orders_them(container: str, channels: int):
    names = UNNAMED[channels]
    assert is_mix_of(decoded(sound_file(tones(names), container, "PCM_16")), names)


MASKED = {
    0x33: "FL FR BL BR",
    0x603: "FL FR SL SR",
    0x3F: "FL FR FC LFE BL BR",
    0x60F: "FL FR FC LFE SL SR",
    0x107: "FL FR FC BC",
    0x4: "FC",
    0xC: "FC LFE",
    0x63F: "FL FR FC LFE BL BR SL SR",
}


def masked_wav(samples: np.ndarray, mask: int) -> bytes:
    channels = len(samples)
    pcm = (samples.T * 32_767).astype("<i2").tobytes()
    layout = struct.pack("<HHIIHH", 0xFFFE, channels, RATE, RATE * 2 * channels, 2 * channels, 16)
    extension = struct.pack("<HHI", 22, 16, mask) + b"\1\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    body = (
        b"WAVEfmt " + struct.pack("<I", 40) + layout + extension + b"data" + struct.pack("<I", len(pcm)) + pcm
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("mask", [mask for mask, names in MASKED.items() if len(names.split()) > 2], ids=hex)
def test_the_mask_of_a_wav_names_its_channels(mask: int):
    assert is_mix_of(decoded(masked_wav(tones(MASKED[mask]), mask)), MASKED[mask])


def test_a_mask_that_cannot_be_is_not_believed():
    assert is_mix_of(decoded(masked_wav(tones(LAYOUTS["5.1"]), 0x3)), LAYOUTS["5.1"])


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "FLAC", "OGG", "AIFF"])
def test_mono_is_the_same_on_both_sides(container: str):
    mono = tones("FC")
    subtype = "VORBIS" if container == "OGG" else "PCM_16"
    left, right = decoded(sound_file(mono, container, subtype))
    assert np.array_equal(left, right)
    assert np.abs(left - mono[0]).max() < 0.02


def test_a_surround_file_with_sound_in_the_centre_only_is_heard():
    samples = np.zeros((6, RATE), np.float32)
    samples[2] = tones("FC")[0]
    left, right = decoded(sound_file(samples, "WAV", "FLOAT"))
    assert np.array_equal(left, right)
    assert np.abs(left - SIDE * samples[2]).max() < 1e-6


def test_two_channels_of_48_khz_stay_as_they_are():
    noise = np.random.default_rng(0).uniform(-1, 1, (2, RATE)).astype(np.float32)
    assert np.array_equal(decoded(sound_file(noise, "WAV", "FLOAT")), noise)


def test_a_loud_downmix_is_turned_down_and_not_clipped():
    loud = tones(LAYOUTS["5.1"]) / LEVEL
    mixed = decoded(sound_file(loud, "WAV", "FLOAT"))
    unlimited = stereo(loud, tuple(LAYOUTS["5.1"].split()))
    peak = np.abs(unlimited).max()
    assert peak > 1.5
    assert np.abs(mixed - unlimited / peak).max() < 1e-6


def test_stereo_beyond_full_scale_is_clipped():
    song = 10 * tones("FL FR")
    assert np.array_equal(decoded(sound_file(song, "WAV", "FLOAT")), song.clip(-1, 1))


@pytest.mark.parametrize("channels", [9, 16, 64])
@pytest.mark.parametrize("container", ["WAV", "CAF", "OGG"])
def test_more_than_eight_channels_are_refused(container: str, channels: int):
    samples = np.full((channels, 4_800), 0.1, np.float32)
    content = sound_file(samples, container, "VORBIS" if container == "OGG" else "PCM_16")
    with pytest.raises(RecordingError, match=f"has {channels} channels, and at most 8 are read: mix it down"):
        decoded(content)


def test_every_layout_of_ffmpeg_with_up_to_eight_channels_is_mixed():
    found = 0
    for name in LAYOUTS_OF_FFMPEG.split():
        names = tuple(channel.name for channel in av.AudioLayout(name).channels)
        for row, channel in enumerate(names):
            alone = np.zeros((len(names), 4), np.float32)
            alone[row] = 1
            left, right = stereo(alone, names)[:, 0]
            assert (left == right == 0) == (channel in {"LFE", "LFE2"}), (name, channel)
            found += 1
    assert found > 100
