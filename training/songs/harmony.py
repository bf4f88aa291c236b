"""Chooses chords, either for a given melody or as a progression before there is one. Bars are the unit."""

from collections.abc import Sequence

import numpy as np

from training.songs.theory import Chord, chord
from training.songs.tunes import METRES, Tune

_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (0, 3, 0, 4), (0, 1, 4, 0), (0, 5, 1, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4), (0, 5, 3, 4), (0, 3, 5, 4), (0, 0, 5, 4)),
}
"""Scale degrees of the chords of four bars."""
_FOLLOWS = {0: (0, 3, 4, 5), 1: (4,), 2: (3, 5), 3: (0, 4, 1), 4: (0, 5), 5: (3, 1, 4), 6: (0, 2)}
"""For each degree, the degrees that usually follow it."""
_LIKED_STEP = 0.35


def progression(mode: str, bars: int, rng: np.random.Generator) -> list[Chord]:
    """Return a four-bar progression, repeated. The last bar is the tonic."""
    degrees = _PROGRESSIONS[mode][int(rng.integers(len(_PROGRESSIONS[mode])))]
    chords = [chord(mode, degrees[bar % 4]) for bar in range(bars)]
    chords[-1] = chord(mode, 0)
    return chords


def harmonise(tune: Tune) -> list[Chord]:
    """Return a chord for each bar of a tune: the best path (Viterbi) through the triads of its mode.

    A chord scores the time in which the melody sounds its notes, and a usual step between chords adds a
    little. The path begins and ends on the tonic by preference.
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
    """Return the share of the bar in which the melody sounds notes of the chord.

    Its first note counts double.
    """
    start, end = bar * quarters, (bar + 1) * quarters
    worth = 0.0
    for note in tune.notes:
        sounding = min(note.onset + note.length, end) - max(note.onset, start)
        if sounding > 0 and note.pitch % 12 in triad.classes:
            worth += sounding / quarters * (2 if note.onset <= start + 1e-6 else 1)
    return worth


def repeated(chords: Sequence[Chord], bars: int) -> list[Chord]:
    """Repeat `chords` until there are `bars` of them."""
    return [chords[bar % len(chords)] for bar in range(bars)]
