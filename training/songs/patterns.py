"""Defines chord, bass and drum patterns of one bar. Times are in beats."""

from collections.abc import Mapping
from dataclasses import dataclass

BEATS = {"4/4": 4, "3/4": 3, "2/4": 2, "6/8": 2}
"""Beats in a bar. Those of 6/8 are dotted quarters."""
DIVISION = {"4/4": 2, "3/4": 2, "2/4": 2, "6/8": 3}
"""Number of notes into which a beat is divided."""


@dataclass(frozen=True)
class Stroke:
    """One chord of a bar, or one note of it."""

    beat: float
    length: float
    voice: int | None = None
    """Index of the chord's note, which continues upwards beyond the octave. None plays all notes."""
    accent: float = 1.0


def comping(name: str, metre: str) -> list[Stroke]:
    """Return a bar of the chord pattern `name`. Raises ValueError for an unknown one."""
    beats, division = BEATS[metre], DIVISION[metre]
    if name == "pulse":
        return [Stroke(beat, 0.9, accent=1.0 if beat == 0 else 0.75) for beat in range(beats)]
    if name == "offbeat":
        return [Stroke(beat + 1 - 1 / division, 0.45, accent=0.9) for beat in range(beats)]
    if name == "oompah":
        return [Stroke(beat, 0.6, accent=0.8) for beat in range(1, beats)] + [Stroke(0, 0.8, 0, 1.0)]
    if name == "strum":
        whole = [Stroke(beat, 0.95, accent=1.0 if beat == 0 else 0.7) for beat in range(beats)]
        return whole + [Stroke(beat + 1 - 1 / division, 0.4, accent=0.5) for beat in range(1, beats)]
    if name == "arpeggio":
        voices = (0, 1, 2) if division == 3 else (0, 2, 1, 2)
        return [
            Stroke(place / division, 1.3 / division, voices[place % len(voices)], 1.0 if not place else 0.75)
            for place in range(beats * division)
        ]
    raise ValueError(f"there is no chord pattern {name!r}")


COMPING = ("pulse", "offbeat", "oompah", "strum", "arpeggio")


def bass(name: str, metre: str) -> list[Stroke]:
    """Return a bar of the bass pattern `name`. Voice 0 is the root, 1 the third and 2 the fifth.

    Raises ValueError for an unknown name.
    """
    beats, division = BEATS[metre], DIVISION[metre]
    if name == "none":
        return []
    if name == "root":
        return [Stroke(0, beats * 0.95, 0)]
    if name == "root fifth":
        half = 2 if beats == 4 else beats - 1
        return [Stroke(0, half * 0.9, 0), Stroke(half, (beats - half) * 0.9, 2, 0.85)]
    if name == "walking":
        return [Stroke(beat, 0.9, (0, 1, 2, 1)[beat % 4]) for beat in range(beats)]
    places = [place / division for place in range(beats * division)]
    if name == "eighths":
        return [Stroke(place, 0.8 / division, 0, 1.0 if place.is_integer() else 0.75) for place in places]
    if name == "offbeat eighths":
        return [Stroke(place, 0.8 / division, 0) for place in places if not place.is_integer()]
    raise ValueError(f"there is no bass pattern {name!r}")


BASSES = ("none", "root", "root fifth", "walking", "eighths", "offbeat eighths")

Groove = Mapping[str, tuple[tuple[float, float], ...]]
"""Strokes of each drum as (beat, level)."""


def _every(step: float, beats: int, level: float, weak: float) -> tuple[tuple[float, float], ...]:
    places = [place * step for place in range(round(beats / step))]
    return tuple((place, level if place == int(place) else weak) for place in places)


def groove(genre: str, metre: str, busy: bool) -> Groove:
    """Return a bar of drums. `busy` selects the pattern of a chorus."""
    beats, division = BEATS[metre], DIVISION[metre]
    hats = _every(1 / division, beats, 0.6, 0.35)
    if metre in ("3/4", "6/8", "2/4"):
        downbeat = ((0.0, 1.0), (beats - 1 / division, 0.5)) if busy else ((0.0, 1.0),)
        return {"kick": downbeat, "snare": tuple((float(beat), 0.7) for beat in range(1, beats)), "hat": hats}
    backbeat = ((1.0, 0.9), (3.0, 0.9))
    if genre == "electronic":
        offbeats = tuple((beat + 0.5, 0.7) for beat in range(beats))
        sixteenths = _every(0.25, beats, 0.35, 0.2) if busy else ()
        return {"kick": _every(1.0, beats, 1.0, 1.0), "snare": backbeat, "open": offbeats, "hat": sixteenths}
    if genre == "jazz":
        ride = ((0.0, 0.8), (1.0, 0.9), (1.5, 0.5), (2.0, 0.8), (3.0, 0.9), (3.5, 0.5))
        return {"ride": ride, "hat": ((1.0, 0.5), (3.0, 0.5)), "kick": _every(1.0, beats, 0.4, 0.4)}
    kicks = ((0.0, 1.0), (2.0, 0.95), (2.5, 0.6)) if busy else ((0.0, 1.0), (2.0, 0.9))
    if genre == "lofi":
        kicks = ((0.0, 1.0), (1.75, 0.5), (2.5, 0.9))
    return {"kick": kicks, "snare": backbeat, "hat": hats}


def fill(metre: str) -> Groove:
    """Return the drums of the last bar before a new section."""
    beats = BEATS[metre]
    rolls = tuple((beats - 1 + place / 4, 0.6 + 0.1 * place) for place in range(4))
    return {"kick": ((0.0, 1.0),), "snare": rolls, "hat": _every(0.5, beats - 1, 0.6, 0.4)}
