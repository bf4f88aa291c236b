"""Describes a song: all facts that its caption and metadata state and that its audio follows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from training.songs.genres import FAMILIES, GENRES, Genre
from training.songs.patterns import BEATS
from training.songs.theory import MODES, Key

_Choice = TypeVar("_Choice")

DURATIONS = (10, 12, 15, 20, 24, 30)
"""Durations in seconds.

There are few, so that songs of one length form batches. The embedded LM plans 10 to 30 s.
"""


@dataclass(frozen=True)
class Section:
    """A stretch of whole bars with its lyrics tag and the parts that play in it."""

    tag: str
    bars: int
    melody: bool = True
    band: bool = True
    """Whether bass and drums play."""
    busy: bool = False


@dataclass(frozen=True)
class Description:
    """A song before it is composed."""

    genre: str
    bpm: int
    metre: str
    key: Key
    lead: str
    """Instrument family of the melody."""
    accompaniment: str
    """Instrument family of the chords."""
    comping: str
    bass: str
    kit: str | None
    """Kind of drum kit, or None without drums."""
    sections: tuple[Section, ...]
    """The sections. They last at least `seconds`."""
    seconds: int

    @property
    def drums(self) -> bool:
        return self.kit is not None

    @property
    def beat_seconds(self) -> float:
        return 60 / self.bpm

    @property
    def bar_seconds(self) -> float:
        return BEATS[self.metre] * self.beat_seconds

    def first(self, seconds: int) -> "Description":
        """Return the description of the song's first seconds."""
        begun, sections = 0.0, []
        for section in self.sections:
            if begun < seconds:
                sections.append(section)
            begun += section.bars * self.bar_seconds
        return replace(self, sections=tuple(sections), seconds=seconds)

    @property
    def lyrics(self) -> str:
        """Return section tags only, as a user writes them who wants no singing."""
        return "\n\n".join(f"[{section.tag}]" for section in self.sections)


def describe(
    rng: np.random.Generator,
    seconds: int | None = None,
    lead: str | None = None,
    drums: bool | None = None,
    metres: frozenset[str] | None = None,
) -> Description:
    """Draw a song. Arguments that are given are kept, and the genre is one that permits them."""
    able = [
        genre
        for genre in GENRES.values()
        if (lead is None or lead in genre.leads) and (metres is None or metres & set(genre.metres))
    ]
    genre = one_of(rng, able)
    metre = one_of(rng, [metre for metre in genre.metres if metres is None or metre in metres])
    bpm = int(rng.integers(genre.tempo[0], genre.tempo[1] + 1))
    lead = lead or _balanced_lead(rng, genre)
    seconds = seconds or int(rng.choice(DURATIONS))
    mode = MODES[int(rng.random() < genre.minor)]
    others = [family for family in genre.accompaniments if family != lead] or list(genre.accompaniments)
    with_drums = bool(rng.random() < genre.drums) if drums is None else drums
    comping = "oompah" if metre == "3/4" and rng.random() < 0.6 else one_of(rng, genre.comping)
    return Description(
        genre=genre.name,
        bpm=bpm,
        metre=metre,
        key=Key(int(rng.integers(12)), mode),
        lead=lead,
        accompaniment=one_of(rng, others),
        comping=comping,
        bass=one_of(rng, genre.basses),
        kit=one_of(rng, genre.kits) if with_drums else None,
        sections=_sections(rng, seconds / (BEATS[metre] * 60 / bpm)),
        seconds=seconds,
    )


def _balanced_lead(rng: np.random.Generator, genre: Genre) -> str:
    """Draw a lead such that every family leads about equally often over all genres."""
    spread = {family: sum(other.leads.count(family) for other in GENRES.values()) for family in FAMILIES}
    weights = np.array([1 / spread[family] for family in genre.leads])
    return genre.leads[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _sections(rng: np.random.Generator, bars: float) -> tuple[Section, ...]:
    """Return sections of at least `bars` bars.

    Short songs have one; longer ones may have an intro and alternate.
    """
    if bars < 8 or rng.random() < 0.4:
        return (Section("Verse", int(np.ceil(bars)), busy=bool(rng.random() < 0.5)),)
    parts = [Section("Intro", 2, melody=False, band=bool(rng.random() < 0.4))]
    pair = (Section("Verse", 4), Section("Chorus", 4, busy=True))
    while sum(part.bars for part in parts) < bars:
        parts.append(pair[(len(parts) + 1) % 2])
    return tuple(parts)


def one_of(rng: np.random.Generator, choices: Sequence[_Choice]) -> _Choice:
    """Draw one of the choices with equal probability."""
    return choices[int(rng.integers(len(choices)))]
