"""Real melodies in the public domain, out of the corpus that comes with music21.

`python -m training.songs.tunes` reads them again from the corpus (it needs the extra `training` and minutes);
everything else reads the file beside this one. Where they come from is in training/MODEL_CARD.md.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

TUNES_FILE = Path(__file__).with_name("tunes.json")
SOURCES = ("oneills1850", "ryansMammoth", "bach")
"""Folders of music21's corpus. Its Essen folk songs are left out: they may not be used commercially."""
METRES = {"4/4": 4.0, "3/4": 3.0, "2/4": 2.0, "6/8": 3.0}
"""Time signature -> quarters in a bar."""
BARS = 8
"""Bars that are kept of a tune: an A part, or two lines of a chorale."""

_EVERY_NTH = {"oneills1850": 4, "ryansMammoth": 4, "bach": 3}
"""Files that are read: music21 takes its time."""
_SCALES = {"major": {0, 2, 4, 5, 7, 9, 11}, "minor": {0, 2, 3, 5, 7, 8, 9, 10, 11}}
_MAX_NOTES_A_BAR = 9


@dataclass(frozen=True)
class TuneNote:
    """Onset and length in quarters, pitch in semitones above the tonic at or next below middle C."""

    onset: float
    length: float
    pitch: int


@dataclass(frozen=True)
class Tune:
    """`BARS` bars of a melody, without its pickup."""

    title: str
    source: str
    mode: str
    """`major` or `minor`"""
    metre: str
    notes: tuple[TuneNote, ...]


@cache
def tunes() -> tuple[Tune, ...]:
    """All tunes in the order of the file."""
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
    """Tunes for a song in `metre`: two bars of 2/4 also make one of 4/4."""
    own = [tune for tune in tunes() if (tune.metre, tune.mode) == (metre, mode)]
    if metre == "4/4":
        own += [replace(tune, metre=metre) for tune in tunes_in("2/4", mode)]
    return tuple(own)


def _corpus_entries() -> Iterator[dict[str, Any]]:
    """What the file holds: onsets and lengths in twelfths of a quarter."""
    from music21 import converter, corpus

    for source in SOURCES:
        paths = sorted(path for path in corpus.getPaths() if source in Path(path).parts)
        for path in paths[:: _EVERY_NTH[source]]:
            try:
                parsed = converter.parse(path)
            except Exception as error:  # a file that music21 itself can't read is not ours to mend
                print(f"left out {Path(path).name}: {error}")
                continue
            for score in getattr(parsed, "scores", [parsed]):
                if entry := _entry(score, source):
                    yield entry


def _entry(score: Any, source: str) -> dict[str, Any] | None:
    """The tune in `score`, None where it is too short, in another metre or not clearly in a key."""
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
            if length <= 0:  # a grace note
                continue
            relative = pitch - (48 + tonic if tonic else 60)
            if note.tie is not None and note.tie.type != "start" and notes and notes[-1][2] == relative:
                start, held, _ = notes.pop()
                notes.append((start, held + round(length * 12), relative))
            else:
                notes.append((round(onset * 12), round(length * 12), relative))
    return notes


def _is_in_key(notes: list[tuple[int, int, int]], mode: str) -> bool:
    """Whether nearly all of it is of the scale, the tonic and its triad weigh enough, and it is no study."""
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
