"""Composes the notes of a song from its description."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.songs import patterns
from training.songs.description import Description, Section, one_of
from training.songs.genres import GENRES
from training.songs.harmony import harmonise, progression, repeated
from training.songs.melody import MelodyNote, by_rule, from_tune
from training.songs.patterns import BEATS
from training.songs.theory import Chord
from training.songs.tunes import tunes_in

_CENTRES = {
    "piano": 72, "guitar": 67, "organ": 69, "strings": 70,
    "flute": 78, "brass": 67, "synth": 71, "bells": 79,
}  # fmt: skip
"""MIDI pitch around which a family plays a melody."""
_CHORD_CENTRE = 58
_BASS_CENTRE = 41
_PHRASE = 8
"""Bars after which a melody made by rule repeats."""


@dataclass(frozen=True)
class Note:
    """One note. Times are seconds, `pitch` is a MIDI pitch, and `level` goes from 0 to 1."""

    onset: float
    length: float
    pitch: int
    level: float


@dataclass(frozen=True)
class Hit:
    """One stroke of a drum."""

    onset: float
    drum: str
    level: float


@dataclass(frozen=True)
class Score:
    """The notes of each part."""

    lead: tuple[Note, ...]
    chords: tuple[Note, ...]
    bass: tuple[Note, ...]
    drums: tuple[Hit, ...]


@dataclass(frozen=True)
class _Bar:
    """A bar of the song: its start in beats, its chord and its section."""

    start: float
    chord: Chord
    section: Section
    is_last_of_section: bool


def compose(description: Description, rng: np.random.Generator) -> Score:
    """Compose a song in the order of `description.sections`. The same state of `rng` gives the same song."""
    phrase, chords = _theme(description, rng)
    bars = _bars(description, chords)
    return Score(
        lead=tuple(_lead(description, phrase, len(chords), bars)),
        chords=tuple(_chords(description, bars)),
        bass=tuple(_bass(description, bars)),
        drums=tuple(_drums(description, bars)),
    )


def _theme(description: Description, rng: np.random.Generator) -> tuple[list[MelodyNote], list[Chord]]:
    """Return a melody and a chord for each of its bars."""
    genre, mode, metre = GENRES[description.genre], description.key.mode, description.metre
    known = tunes_in(metre, mode)
    if known and rng.random() < genre.tunes:
        tune = one_of(rng, known)
        return from_tune(tune), harmonise(tune)
    chords = progression(mode, _PHRASE, rng)
    return by_rule(mode, metre, chords, rng), chords


def _bars(description: Description, chords: Sequence[Chord]) -> list[_Bar]:
    bars: list[_Bar] = []
    beats = BEATS[description.metre]
    for section in description.sections:
        for place, triad in enumerate(repeated(chords, section.bars)):
            bars.append(_Bar(len(bars) * beats, triad, section, place == section.bars - 1))
    return bars


def _lead(
    description: Description, phrase: Sequence[MelodyNote], phrase_bars: int, bars: Sequence[_Bar]
) -> list[Note]:
    beats = BEATS[description.metre]
    average = sum(note.pitch for note in phrase) / len(phrase)
    tonic = description.key.tonic
    octave = round((_CENTRES[description.lead] - average - tonic) / 12)
    notes, place = [], 0
    for bar in bars:
        if place and bars[round(bar.start / beats) - 1].section is not bar.section:
            place = 0  # Each section begins the theme anew over the same chords.
        start = (place % phrase_bars) * beats
        place += 1
        if not bar.section.melody:
            place = 0
            continue
        for note in phrase:
            if start <= note.onset < start + beats:
                level = 0.9 if (note.onset - start) % 1 == 0 else 0.75
                onset = bar.start + note.onset - start
                notes.append(_note(description, onset, note.length, tonic + 12 * octave + note.pitch, level))
    return notes


def _chords(description: Description, bars: Sequence[_Bar]) -> list[Note]:
    notes = []
    for bar in bars:
        voicing = _voicing(description, bar.chord)
        for stroke in patterns.comping(description.comping, description.metre):
            tones = voicing if stroke.voice is None else (_spread(voicing, stroke.voice),)
            for tone in tones:
                onset = bar.start + stroke.beat
                notes.append(_note(description, onset, stroke.length, tone, 0.8 * stroke.accent))
    return notes


def _voicing(description: Description, triad: Chord) -> tuple[int, ...]:
    """Return the chord's notes, ascending, in the octave around the middle of the chords' register."""
    classes = sorted((description.key.tonic + tone) % 12 for tone in triad.classes)
    lowest = _CHORD_CENTRE - 5
    return tuple(sorted(lowest + (tone - lowest) % 12 for tone in classes))


def _spread(voicing: tuple[int, ...], voice: int) -> int:
    return voicing[voice % len(voicing)] + 12 * (voice // len(voicing))


def _bass(description: Description, bars: Sequence[_Bar]) -> list[Note]:
    notes = []
    lowest = _BASS_CENTRE - 6
    for bar in bars:
        if not bar.section.band:
            continue
        tones = [
            lowest + (description.key.tonic + tone - lowest) % 12
            for tone in (bar.chord.root, bar.chord.root + bar.chord.third, bar.chord.root + 7)
        ]
        for stroke in patterns.bass(description.bass, description.metre):
            tone = tones[stroke.voice or 0]
            notes.append(
                _note(description, bar.start + stroke.beat, stroke.length, tone, 0.9 * stroke.accent)
            )
    return notes


def _drums(description: Description, bars: Sequence[_Bar]) -> list[Hit]:
    if not description.drums:
        return []
    hits = []
    for bar in bars:
        if not bar.section.band:
            continue
        busy, metre = bar.section.busy, description.metre
        ends_a_section = bar.is_last_of_section and len(description.sections) > 1
        played = patterns.fill(metre) if ends_a_section else patterns.groove(description.genre, metre, busy)
        hits += [
            Hit(_seconds(description, bar.start + beat), drum, level)
            for drum, strokes in played.items()
            for beat, level in strokes
        ]
    return hits


def _note(description: Description, onset: float, length: float, pitch: int, level: float) -> Note:
    start = _seconds(description, onset)
    return Note(start, max(0.06, _seconds(description, onset + length) - start), pitch, level)


def _seconds(description: Description, beat: float) -> float:
    """Return the time of `beat` in seconds. The second half of a swung beat is late."""
    swing = GENRES[description.genre].swing if patterns.DIVISION[description.metre] == 2 else 0.0
    whole, part = divmod(beat, 1.0)
    # The map is linear between three points: 0 and 1 stay, and 0.5 moves to 0.5 + swing.
    warped = part * (1 + 2 * swing) if part < 0.5 else 0.5 + swing + (part - 0.5) * (1 - 2 * swing)
    return (whole + warped) * description.beat_seconds
