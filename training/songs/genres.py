"""Defines the genres: tempi, metres, instruments and playing styles."""

from dataclasses import dataclass

FAMILIES = ("piano", "guitar", "organ", "strings", "flute", "brass", "synth", "bells")
"""Instrument families that can lead a song."""


@dataclass(frozen=True)
class Genre:
    """The choices of one genre.

    They are drawn uniformly, so an entry that occurs twice is twice as likely.
    """

    name: str
    tempo: tuple[int, int]
    """Beats a minute, both ends included. In 6/8 a beat is a dotted quarter."""
    metres: tuple[str, ...]
    minor: float
    """Share of songs in minor."""
    leads: tuple[str, ...]
    accompaniments: tuple[str, ...]
    """Families that can play the chords."""
    comping: tuple[str, ...]
    """Chord patterns of `patterns.COMPING`."""
    basses: tuple[str, ...]
    """Bass patterns of `patterns.BASSES`. `none` is a song without bass."""
    kits: tuple[str, ...]
    """Kinds of drum kits of `drums.KITS`."""
    drums: float
    """Share of songs with drums."""
    swing: float = 0.0
    """How much later the second half of a beat comes, in beats."""
    tunes: float = 0.5
    """Share of songs whose melody is a tune of the corpus. Other melodies are made by rule."""


GENRES = {
    genre.name: genre
    for genre in (
        Genre(
            "folk",
            (84, 132),
            ("4/4", "4/4", "3/4", "2/4", "6/8"),
            0.35,
            ("flute", "guitar", "strings", "piano", "bells"),
            ("guitar", "guitar", "piano"),
            ("strum", "arpeggio", "oompah"),
            ("root fifth", "root fifth", "none"),
            ("brushes", "acoustic"),
            0.35,
            tunes=1.0,
        ),
        Genre(
            "classical",
            (66, 120),
            ("4/4", "4/4", "3/4"),
            0.45,
            ("strings", "flute", "piano", "organ", "brass"),
            ("strings", "piano", "organ"),
            ("pulse", "arpeggio", "oompah"),
            ("root", "root fifth"),
            ("acoustic",),
            0.1,
            tunes=0.9,
        ),
        Genre(
            "pop",
            (92, 132),
            ("4/4",),
            0.35,
            FAMILIES,
            ("piano", "guitar", "synth", "strings"),
            ("pulse", "strum", "arpeggio", "offbeat"),
            ("eighths", "root", "root fifth"),
            ("acoustic", "electronic"),
            0.75,
            tunes=0.25,
        ),
        Genre(
            "rock",
            (100, 160),
            ("4/4",),
            0.5,
            ("guitar", "guitar", "organ", "synth", "brass"),
            ("guitar", "organ", "piano"),
            ("pulse", "strum"),
            ("eighths", "eighths", "root fifth"),
            ("acoustic",),
            0.85,
            tunes=0.25,
        ),
        Genre(
            "jazz",
            (96, 160),
            ("4/4", "4/4", "3/4"),
            0.4,
            ("piano", "brass", "flute", "guitar", "bells", "organ"),
            ("piano", "guitar", "organ"),
            ("offbeat", "pulse"),
            ("walking",),
            ("brushes", "acoustic"),
            0.7,
            swing=0.16,
            tunes=0.4,
        ),
        Genre(
            "electronic",
            (112, 150),
            ("4/4",),
            0.6,
            ("synth", "synth", "bells", "organ", "piano"),
            ("synth", "strings", "piano"),
            ("offbeat", "arpeggio", "pulse"),
            ("offbeat eighths", "eighths"),
            ("electronic",),
            0.85,
            tunes=0.1,
        ),
        Genre(
            "lofi",
            (66, 94),
            ("4/4",),
            0.5,
            ("piano", "guitar", "bells", "flute", "synth"),
            ("piano", "guitar", "bells"),
            ("pulse", "arpeggio"),
            ("root", "root fifth"),
            ("electronic", "brushes"),
            0.75,
            swing=0.08,
            tunes=0.2,
        ),
        Genre(
            "waltz",
            (90, 150),
            ("3/4",),
            0.4,
            ("strings", "piano", "flute", "brass", "bells", "guitar"),
            ("piano", "guitar", "strings", "organ"),
            ("oompah",),
            ("root",),
            ("brushes", "acoustic"),
            0.3,
            tunes=0.7,
        ),
    )
}
