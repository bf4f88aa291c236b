import numpy as np
import pytest

from deployments.codec.files.finishing import finished_repaint, finished_song
from deployments.codec.files.loudness import TARGET_PEAK, limited, normalised, peak
from deployments.common.errors import JobError
from deployments.common.messages import Finish, Splice
from tests.encoded_audio import music

SECONDS = 3.0
CROSSFADE = 0.025


def at(seconds: float) -> int:
    return round(seconds * 48_000)


@pytest.mark.parametrize("level", [0.001, 0.5, 1.0, 40.0])
def test_songs_peak_at_minus_one_dbfs(level: float):
    song = finished_song(music(SECONDS) * level, SECONDS, Finish())
    assert peak(song) == pytest.approx(10 ** (-1 / 20), abs=1e-6)


@pytest.mark.parametrize("decibels", [0.0, -3.0, -60.0])
def test_songs_peak_where_they_are_asked_to(decibels: float):
    song = finished_song(music(SECONDS), SECONDS, Finish(peak_db=decibels))
    assert peak(song) == pytest.approx(10 ** (decibels / 20), rel=1e-6)


def test_without_normalisation_a_song_is_only_kept_from_clipping():
    quiet = music(SECONDS) * np.float32(0.1)
    assert np.array_equal(finished_song(quiet, SECONDS, Finish(peak_db=None)), quiet)
    assert peak(finished_song(quiet * 100, SECONDS, Finish(peak_db=None))) == pytest.approx(1.0)


def test_fades_are_straight_lines_from_and_to_silence():
    whole = finished_song(music(SECONDS), SECONDS, Finish())
    song = finished_song(music(SECONDS), SECONDS, Finish(fade_in=0.5, fade_out=1.0))
    into, outof = at(0.5), at(1.0)
    assert np.allclose(song[:, :into], whole[:, :into] * np.linspace(0, 1, into), atol=1e-6)
    assert np.array_equal(song[:, into:-outof], whole[:, into:-outof])
    assert np.allclose(song[:, -outof:], whole[:, -outof:] * np.linspace(1, 0, outof), atol=1e-6)


def test_a_fade_is_no_longer_than_the_song():
    whole = finished_song(music(SECONDS), SECONDS, Finish())
    song = finished_song(music(SECONDS), SECONDS, Finish(fade_in=60.0))
    assert np.allclose(song, whole * np.linspace(0, 1, at(SECONDS)), atol=1e-6)


def test_silence_is_not_amplified():
    silence = np.full((2, 100), 1e-7, np.float32)
    assert np.array_equal(normalised(silence, TARGET_PEAK), silence)


def test_limiting_turns_down_but_never_up():
    assert peak(limited(music(1.0) * 100, TARGET_PEAK)) == pytest.approx(TARGET_PEAK)
    quiet = music(1.0) * 0.1
    assert np.array_equal(limited(quiet, TARGET_PEAK), quiet)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 2.9, 3.0])
def test_songs_are_cut_to_the_exact_length(seconds: float):
    assert finished_song(music(SECONDS), seconds, Finish()).shape == (2, at(seconds))


def test_a_waveform_that_is_too_short_is_an_error():
    with pytest.raises(ValueError, match="48000 samples were decoded for a song of 52800"):
        finished_song(music(1.0), 1.1, Finish())


@pytest.mark.parametrize(
    ("value", "complaint"), [(np.nan, "not finite"), (np.inf, "not finite"), (0, "silent")]
)
def test_output_without_sound_fails_the_job(value: float, complaint: str):
    with pytest.raises(JobError, match=complaint):
        finished_song(np.full((2, 48_000), value, np.float32), 1.0, Finish())


@pytest.fixture
def source() -> np.ndarray:
    return music(SECONDS)


@pytest.fixture
def renewed() -> np.ndarray:
    return music(10.0)[:, at(5.0) :]


def test_outside_the_window_and_its_crossfade_the_source_stays(source: np.ndarray, renewed: np.ndarray):
    song = finished_repaint(renewed, SECONDS, source, Splice("", 1.0, 2.0, crossfade=CROSSFADE), Finish())
    before, after = slice(None, at(1.0 - CROSSFADE)), slice(at(2.0 + CROSSFADE), None)
    assert np.array_equal(song[:, before], source[:, before])
    assert np.array_equal(song[:, after], source[:, after])
    window = slice(at(1.0), at(2.0))
    assert np.array_equal(song[:, window], renewed[:, window])


def test_the_crossfade_goes_straight_from_one_to_the_other():
    source, renewed = np.full((2, at(3.0)), 0.25, np.float32), np.full((2, at(3.0)), 0.5, np.float32)
    song = finished_repaint(renewed, 3.0, source, Splice("", 1.0, 2.0, crossfade=CROSSFADE), Finish())
    for edge in (slice(at(1.0 - CROSSFADE) - 1, at(1.0) + 1), slice(at(2.0) - 1, at(2.0 + CROSSFADE) + 1)):
        steps = np.abs(np.diff(song[0, edge]))
        assert steps == pytest.approx(0.25 / (at(CROSSFADE) + 1), rel=1e-3)


def test_only_the_new_part_is_limited(renewed: np.ndarray):
    loud_source = music(SECONDS) / peak(music(SECONDS))
    song = finished_repaint(renewed * 50, SECONDS, loud_source, Splice("", 1.0, 2.0, crossfade=0.0), Finish())
    assert peak(song[:, at(1.0) : at(2.0)]) == pytest.approx(TARGET_PEAK)
    assert np.array_equal(song[:, : at(1.0)], loud_source[:, : at(1.0)])


def test_the_new_part_of_a_repaint_stays_below_the_peak_and_fades_are_those_of_the_song(
    source: np.ndarray, renewed: np.ndarray
):
    splice = Splice("", 1.0, 2.0, crossfade=0.0)
    finish = Finish(peak_db=-20.0, fade_in=0.5)
    song = finished_repaint(renewed, SECONDS, source, splice, finish)
    assert peak(song[:, at(1.0) : at(2.0)]) <= 0.1 + 1e-6
    assert np.array_equal(song[:, at(2.0) :], source[:, at(2.0) :])
    assert np.allclose(song[:, : at(0.5)], source[:, : at(0.5)] * np.linspace(0, 1, at(0.5)), atol=1e-6)
    loud = finished_repaint(renewed * 50, SECONDS, source, splice, Finish(peak_db=None))
    assert peak(loud[:, at(1.0) : at(2.0)]) == pytest.approx(1.0)


def test_a_source_that_was_turned_up_gets_its_new_part_turned_down(source: np.ndarray, renewed: np.ndarray):
    splice = Splice("", 1.0, 2.0, crossfade=CROSSFADE, gain=100.0)
    song = finished_repaint(renewed, SECONDS, source / 100, splice, Finish())
    assert np.array_equal(song[:, : at(0.9)], source[:, : at(0.9)] / 100)
    assert np.allclose(song[:, at(1.0) : at(2.0)], renewed[:, at(1.0) : at(2.0)] / 100, rtol=1e-6)


def test_out_painting_keeps_the_source_between_the_new_ends(source: np.ndarray):
    total = 0.5 + SECONDS + 1.0
    renewed = music(total) * 0.9
    left = Splice("", 0.0, 0.5, pad_left=0.5, pad_right=1.0, crossfade=CROSSFADE)
    song = finished_repaint(renewed, total, source, left, Finish())
    assert song.shape == (2, at(total))
    assert np.array_equal(song[:, : at(0.5)], renewed[:, : at(0.5)])
    kept = slice(at(0.5 + CROSSFADE), at(0.5 + SECONDS))
    assert np.array_equal(song[:, kept], source[:, at(CROSSFADE) :])
    right = Splice("", 0.5 + SECONDS, total, pad_left=0.5, pad_right=1.0, crossfade=CROSSFADE)
    song = finished_repaint(renewed, total, source, right, Finish())
    assert np.array_equal(song[:, at(0.5 + SECONDS) :], renewed[:, at(0.5 + SECONDS) :])


def test_a_window_over_everything_keeps_nothing_of_the_source(source: np.ndarray, renewed: np.ndarray):
    song = finished_repaint(renewed, SECONDS, source, Splice("", 0.0, SECONDS), Finish())
    assert np.array_equal(song, renewed[:, : at(SECONDS)])


def test_beyond_the_end_of_the_source_it_is_silent(renewed: np.ndarray):
    song = finished_repaint(renewed, SECONDS, music(2.5), Splice("", 0.0, 1.0), Finish())
    assert not song[:, at(2.5) :].any()
