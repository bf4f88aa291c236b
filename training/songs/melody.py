"""Makes melodies. Onsets and lengths are in beats, pitches in semitones above the tonic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.songs.patterns import BEATS, DIVISION
from training.songs.theory import SCALES, Chord
from training.songs.tunes import METRES, Tune


@dataclass(frozen=True)
class MelodyNote:
    """A note of the lead."""

    onset: float
    length: float
    pitch: int


def from_tune(tune: Tune) -> list[MelodyNote]:
    """Return the tune with times in beats."""
    quarters_a_beat = METRES[tune.metre] / BEATS[tune.metre]
    return [
        MelodyNote(note.onset / quarters_a_beat, note.length / quarters_a_beat, note.pitch)
        for note in tune.notes
    ]


def by_rule(mode: str, metre: str, chords: Sequence[Chord], rng: np.random.Generator) -> list[MelodyNote]:
    """Make a melody with a two-bar rhythm that walks along the scale. Notes on a beat belong to the chord."""
    rhythms = [_rhythm(metre, rng) for _ in range(2)]
    beats = BEATS[metre]
    notes: list[MelodyNote] = []
    degree = int(rng.integers(4, 10))
    for bar, triad in enumerate(chords):
        last = bar == len(chords) - 1
        for onset, length in [(0.0, float(beats))] if last else rhythms[bar % 2]:
            degree = int(np.clip(degree + rng.choice((-2, -1, -1, 0, 1, 1, 2)), 2, 12))
            pitch = _scale_pitch(mode, degree)
            if last:
                pitch = 12 * round(pitch / 12)
            elif onset == int(onset):
                pitch = min(
                    (octave * 12 + tone for octave in range(-1, 3) for tone in triad.classes),
                    key=lambda candidate: abs(candidate - pitch),
                )
                degree = _nearest_degree(mode, pitch)
            notes.append(MelodyNote(bar * beats + onset, length, pitch))
    return notes


def _rhythm(metre: str, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw onsets and lengths of one bar. There is always a note on its first beat."""
    division = DIVISION[metre]
    places = [0.0]
    for place in range(1, BEATS[metre] * division):
        likely = 0.75 if place % division == 0 else 0.3
        if rng.random() < likely:
            places.append(place / division)
    ends = [*places[1:], float(BEATS[metre])]
    return [(start, 0.92 * (end - start)) for start, end in zip(places, ends, strict=True)]


def _scale_pitch(mode: str, degree: int) -> int:
    return 12 * (degree // 7) + SCALES[mode][degree % 7]


def _nearest_degree(mode: str, pitch: int) -> int:
    return min(range(-7, 21), key=lambda degree: abs(_scale_pitch(mode, degree) - pitch))
