"""The melodies of the corpus and their chords."""

from collections import Counter

import pytest

from training.songs.harmony import harmonise, progression
from training.songs.song import Purpose, generator
from training.songs.theory import MODES
from training.songs.theory import chord as triad
from training.songs.tunes import BARS, METRES, SOURCES, Tune, TuneNote, tunes, tunes_in


def test_every_source_gives_tunes() -> None:
    counts = Counter(tune.source for tune in tunes())
    assert set(counts) == set(SOURCES)
    assert min(counts.values()) >= 30


def test_tunes_last_eight_bars() -> None:
    for tune in tunes():
        quarters = BARS * METRES[tune.metre]
        assert all(0 <= note.onset < quarters and note.length > 0 for note in tune.notes)
        assert max(note.onset + note.length for note in tune.notes) > quarters - METRES[tune.metre]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("metre", METRES)
def test_every_metre_and_mode_has_tunes(metre: str, mode: str) -> None:
    assert tunes_in(metre, mode)
    assert all((tune.metre, tune.mode) == (metre, mode) for tune in tunes_in(metre, mode))


@pytest.mark.parametrize("mode", MODES)
def test_harmony_begins_and_ends_at_home(mode: str) -> None:
    known = tunes_in("4/4", mode)
    homes = [harmonise(tune)[-1] == triad(mode, 0) for tune in known]
    assert sum(homes) / len(known) > 0.8
    assert progression(mode, 8, generator(Purpose.TRAINING, 0))[-1] == triad(mode, 0)


def test_chords_follow_the_melody() -> None:
    scale = [(0, 0), (0, 4), (5, 9), (7, 11), (7, 14), (0, 4), (5, 9), (0, 0)]
    notes = [
        TuneNote(4.0 * bar + 2.0 * half, 2.0, pitch)
        for bar, pair in enumerate(scale)
        for half, pitch in enumerate(pair)
    ]
    chords = harmonise(Tune("", "", "major", "4/4", tuple(notes)))
    assert all(
        {pitch % 12 for pitch in pair} <= chord.classes for pair, chord in zip(scale, chords, strict=True)
    )
