"""Reads real melodies in the public domain from the corpus that comes with music21.

`python -m training.songs.tunes` reads the corpus again (it needs the extra `training` and some minutes). All
other code reads the file beside this one. training/MODEL_CARD.md tells where the melodies come from.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

TUNES_FILE = Path(__file__).with_name("tunes.json")
SOURCES = ("oneills1850", "ryansMammoth", "bach")
"""Folders of music21's corpus.

Its Essen folk songs are left out, because commercial use of them is not allowed.
"""
METRES = {"4/4": 4.0, "3/4": 3.0, "2/4": 2.0, "6/8": 3.0}
"""Quarters in a bar of each time signature."""
BARS = 8
"""Bars that are kept of a tune: an A part, or two lines of a chorale."""

_EVERY_NTH = {"oneills1850": 4, "ryansMammoth": 4, "bach": 3}
"""Every how many files one is read, because music21 is slow."""
_SCALES = {"major": {0, 2, 4, 5, 7, 9, 11}, "minor": {0, 2, 3, 5, 7, 8, 9, 10, 11}}
_MAX_NOTES_A_BAR = 9


@dataclass(frozen=True)
class TuneNote:
    """One note.

    Onset and length are in quarters, pitch in semitones above the tonic at or next below middle C.
    """

    onset: float
    length: float
    pitch: int


@dataclass(frozen=True)
class Tune:
    """`BARS` bars of a melody, without its pickup."""

    title: str
    source: str
    mode: str
    """`major` or `minor`."""
    metre: str
    notes: tuple[TuneNote, ...]


@cache
def tunes() -> tuple[Tune, ...]:
    """Return all tunes in the order of the file."""
    return tuple(
        Tune(
            entry["title"],
            entry["source"],
            entry["mode"],
            entry["metre"],
            tuple(TuneNote(onset / 12, length / 12, pitch) for onset, length, pitch in entry["notes"]),
        )
        for entry in json.loads(TUNES_FILE.read_text())
    )


@cache
def tunes_in(metre: str, mode: str) -> tuple[Tune, ...]:
    """Return the tunes for a song in `metre`.

    Tunes in 2/4 also serve 4/4, where two of their bars make one.
    """
    own = [tune for tune in tunes() if (tune.metre, tune.mode) == (metre, mode)]
    if metre == "4/4":
        own += [replace(tune, metre=metre) for tune in tunes_in("2/4", mode)]
    return tuple(own)


def _corpus_entries() -> Iterator[dict[str, Any]]:
    """Yield the entries of the file. Onsets and lengths are in twelfths of a quarter."""
    from music21 import converter, corpus

    for source in SOURCES:
        paths = sorted(path for path in corpus.getPaths() if source in Path(path).parts)
        for path in paths[:: _EVERY_NTH[source]]:
            try:
                parsed = converter.parse(path)
            except Exception as error:  # Files that music21 itself cannot read are skipped.
                print(f"left out {Path(path).name}: {error}")
                continue
            for score in getattr(parsed, "scores", [parsed]):
                if entry := _entry(score, source):
                    yield entry


def _entry(score: Any, source: str) -> dict[str, Any] | None:
    """Return the tune in `score`, or None if it is too short, in another metre or not clearly in a key."""
    part = score.parts[0] if source == "bach" else score
    flat = part.flatten()
    times = flat.getElementsByClass("TimeSignature")
    if len(times) != 1 or times[0].ratioString not in METRES:
        return None
    metre = times[0].ratioString
    measures = [m for m in part.recurse().getElementsByClass("Measure") if m.duration.quarterLength]
    whole = [m for m in measures if abs(m.duration.quarterLength - METRES[metre]) < 1e-6]
    if len(whole) < BARS or any(m not in whole for m in measures[1:BARS]):
        return None
    key = next(iter(flat.getElementsByClass("Key")), None) or flat.analyze("key")
    first = measures.index(whole[0])
    notes = _notes(measures[first : first + BARS], METRES[metre], key.tonic.pitchClass)
    lasts = notes and sum(notes[-1][:2]) > 12 * (BARS - 1) * METRES[metre]
    if not lasts or key.mode not in _SCALES or not _is_in_key(notes, key.mode):
        return None
    title = (score.metadata and score.metadata.title) or "untitled"
    return {"title": title, "source": source, "mode": key.mode, "metre": metre, "notes": notes}


def _notes(measures: list[Any], quarters: float, tonic: int) -> list[tuple[int, int, int]]:
    notes: list[tuple[int, int, int]] = []
    for bar, measure in enumerate(measures):
        for note in measure.recurse().notes:
            pitch, length = note.pitches[-1].midi, float(note.duration.quarterLength)
            onset = bar * quarters + float(note.getOffsetInHierarchy(measure))
            if length <= 0:  # A note without length is a grace note.
                continue
            relative = pitch - (48 + tonic if tonic else 60)
            if note.tie is not None and note.tie.type != "start" and notes and notes[-1][2] == relative:
                start, held, _ = notes.pop()
                notes.append((start, held + round(length * 12), relative))
            else:
                notes.append((round(onset * 12), round(length * 12), relative))
    return notes


def _is_in_key(notes: list[tuple[int, int, int]], mode: str) -> bool:
    """Return whether a tune is clearly in a key (scale, tonic and triad) and does not have too many notes."""
    total = sum(length for _, length, _ in notes)
    third = 4 if mode == "major" else 3
    share = {
        name: sum(length for _, length, pitch in notes if pitch % 12 in classes) / total
        for name, classes in (("scale", _SCALES[mode]), ("tonic", {0}), ("triad", {0, third, 7}))
    }
    sparse = len(notes) <= _MAX_NOTES_A_BAR * BARS
    return sparse and share["scale"] > 0.97 and share["tonic"] > 0.12 and share["triad"] > 0.45


if __name__ == "__main__":
    found = list(_corpus_entries())
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in found)
    TUNES_FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(found)} tunes")
