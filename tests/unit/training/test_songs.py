"""Rendered songs match their descriptions."""

import numpy as np
import pytest

from configs.domain import SAMPLE_RATE
from deployments.language_model.text.metadata import normal_key
from training.songs.captions import caption
from training.songs.composing import compose
from training.songs.description import DURATIONS, describe
from training.songs.genres import FAMILIES, GENRES
from training.songs.patterns import BEATS
from training.songs.song import Purpose, generator, render, song
from training.songs.theory import MODES, Key


def test_the_same_number_is_the_same_song() -> None:
    first, again = (song(Purpose.TRAINING, 7, seconds=1) for _ in range(2))
    assert first.description == again.description
    assert first.caption == again.caption
    np.testing.assert_array_equal(first.audio, again.audio)


def test_songs_of_another_purpose_are_other_songs() -> None:
    descriptions = {describe(generator(purpose, 7)) for purpose in Purpose}
    assert len(descriptions) == len(Purpose)


@pytest.mark.parametrize("number", range(6))
def test_a_song_is_stereo_exactly_as_long_as_asked_and_never_clips(number: int) -> None:
    audio = song(Purpose.TRAINING, number, seconds=2).audio
    assert audio.shape == (2, 2 * SAMPLE_RATE)
    assert audio.dtype == np.float32
    assert 0.5 < np.abs(audio).max() < 1.0


@pytest.mark.parametrize("genre", GENRES)
def test_every_genre_keeps_to_its_tempi_metres_and_leads(genre: str) -> None:
    drawn = [description for description in map(_describe, range(300)) if description.genre == genre]
    assert drawn
    for description in drawn:
        low, high = GENRES[genre].tempo
        assert low <= description.bpm <= high
        assert description.metre in GENRES[genre].metres
        assert description.lead in GENRES[genre].leads
        assert description.seconds in DURATIONS


def _describe(number: int):
    return describe(generator(Purpose.TRAINING, number))


def test_every_family_leads_about_equally_often() -> None:
    leads = [_describe(number).lead for number in range(2000)]
    for family in FAMILIES:
        assert 0.08 < leads.count(family) / len(leads) < 0.18


def test_sections_last_as_long_as_the_song() -> None:
    for number in range(200):
        description = _describe(number)
        bars = sum(section.bars for section in description.sections)
        assert bars * description.bar_seconds >= description.seconds - 1e-6
        assert description.lyrics.count("[") == len(description.sections)


@pytest.mark.parametrize("drums", [True, False])
def test_drums_play_where_they_are_asked_for_and_the_caption_says_so(drums: bool) -> None:
    for number in range(20):
        rng = generator(Purpose.TRAINING, number)
        description = describe(rng, 10, drums=drums)
        assert bool(compose(description, rng).drums) == drums
        words = caption(description, rng)
        assert drums != any(phrase in words for phrase in ("without drums", "no drums", "no percussion"))


def test_notes_of_the_chords_are_of_the_key() -> None:
    allowed = {"major": {0, 2, 4, 5, 7, 9, 11}, "minor": {0, 2, 3, 5, 7, 8, 10, 11}}
    for number in range(60):
        rng = generator(Purpose.TRAINING, number)
        description = describe(rng, 10)
        score = compose(description, rng)
        steps = {(note.pitch - description.key.tonic) % 12 for note in score.chords}
        assert steps <= allowed[description.key.mode]


def test_chords_change_at_bars_and_notes_lie_on_the_grid() -> None:
    for number in range(30):
        rng = generator(Purpose.TRAINING, number)
        description = describe(rng, 10)
        downbeats = {
            round(hit.onset / description.bar_seconds, 3) for hit in compose(description, rng).chords
        }
        assert description.comping == "offbeat" or {0.0, 1.0, 2.0} <= downbeats


def test_without_bass_and_drums_only_the_lead_and_the_chords_are_left() -> None:
    rng = generator(Purpose.TRAINING, 1)
    description = describe(rng, 10, lead="flute", drums=False, metres=frozenset({"6/8"}))
    assert BEATS[description.metre] == 2
    score = compose(description, rng)
    assert score.lead
    assert score.chords
    assert not score.drums
    assert np.abs(render(description, rng)).max() > 0.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tonic", range(12))
def test_keys_are_named_as_the_language_model_writes_them(tonic: int, mode: str) -> None:
    key = Key(tonic, mode)
    assert normal_key(key.name) == key.name
    assert key.relative.relative == key
    assert key.parallel.parallel == key


@pytest.mark.parametrize(
    ("key", "relative"),
    [(Key(0, "major"), "A minor"), (Key(9, "minor"), "C major"), (Key(6, "minor"), "A major")],
)
def test_relative_keys_share_their_notes(key: Key, relative: str) -> None:
    assert key.relative.name == relative
