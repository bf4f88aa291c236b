"""Chords under a melody, or before there is one. Bars are the unit."""

from collections.abc import Sequence

import numpy as np

from training.songs.theory import Chord, chord
from training.songs.tunes import METRES, Tune

_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (0, 3, 0, 4), (0, 1, 4, 0), (0, 5, 1, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4), (0, 5, 3, 4), (0, 3, 5, 4), (0, 0, 5, 4)),
}
"""Scale degrees of four bars."""
_FOLLOWS = {0: (0, 3, 4, 5), 1: (4,), 2: (3, 5), 3: (0, 4, 1), 4: (0, 5), 5: (3, 1, 4), 6: (0, 2)}
"""Degrees that a degree likes to go to."""
_LIKED_STEP = 0.35


def progression(mode: str, bars: int, rng: np.random.Generator) -> list[Chord]:
    """A four-bar progression over and over; the last bar is the tonic."""
    degrees = _PROGRESSIONS[mode][int(rng.integers(len(_PROGRESSIONS[mode])))]
    chords = [chord(mode, degrees[bar % 4]) for bar in range(bars)]
    chords[-1] = chord(mode, 0)
    return chords


def harmonise(tune: Tune) -> list[Chord]:
    """A chord for each bar of a tune: the cheapest path (Viterbi) through the triads of its mode.

    A chord is worth the time in which the melody sounds its notes, a liked step a little more. The way begins
    and ends on the tonic.
    """
    quarters = METRES[tune.metre]
    bars = round(max(note.onset + note.length for note in tune.notes) / quarters)
    degrees = range(7) if tune.mode == "minor" else range(6)
    fits = np.array(
        [[_fit(tune, bar, chord(tune.mode, d), quarters) for d in degrees] for bar in range(bars)]
    )
    fits[0, 0] += 1.0
    fits[-1, 0] += 2.0
    steps = np.array([[_LIKED_STEP * (later in _FOLLOWS[d]) for later in degrees] for d in degrees])
    best, came_from = fits[0], []
    for bar in range(1, bars):
        paths = best[:, None] + steps
        came_from.append(paths.argmax(axis=0))
        best = paths.max(axis=0) + fits[bar]
    path = [int(best.argmax())]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    return [chord(tune.mode, degree) for degree in reversed(path)]


def _fit(tune: Tune, bar: int, triad: Chord, quarters: float) -> float:
    """Share of the bar in which the melody sounds a note of the chord; its first note counts double."""
    start, end = bar * quarters, (bar + 1) * quarters
    worth = 0.0
    for note in tune.notes:
        sounding = min(note.onset + note.length, end) - max(note.onset, start)
        if sounding > 0 and note.pitch % 12 in triad.classes:
            worth += sounding / quarters * (2 if note.onset <= start + 1e-6 else 1)
    return worth


def repeated(chords: Sequence[Chord], bars: int) -> list[Chord]:
    """`chords` over and over for `bars` bars."""
    return [chords[bar % len(chords)] for bar in range(bars)]
