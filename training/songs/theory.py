"""Provides keys, scales and triads, as far as these songs need them."""

from dataclasses import dataclass

MODES = ("major", "minor")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_NAMES = {
    "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
}
"""The usual spelling of each key, indexed by the pitch class of its tonic."""


@dataclass(frozen=True)
class Key:
    """A key. `tonic` is a pitch class, 0 for C."""

    tonic: int
    mode: str

    @property
    def name(self) -> str:
        """Return the name as the language model writes it: `F# minor`."""
        return f"{_NAMES[self.mode][self.tonic]} {self.mode}"

    @property
    def relative(self) -> "Key":
        """Return the key of the other mode with the same notes."""
        if self.mode == "major":
            return Key((self.tonic + 9) % 12, "minor")
        return Key((self.tonic + 3) % 12, "major")

    @property
    def parallel(self) -> "Key":
        """Return the key of the other mode on the same tonic."""
        return Key(self.tonic, "minor" if self.mode == "major" else "major")


@dataclass(frozen=True)
class Chord:
    """A triad. `root` is in semitones above the tonic."""

    root: int
    third: int

    @property
    def pitches(self) -> tuple[int, int, int]:
        return self.root, self.root + self.third, self.root + 7

    @property
    def classes(self) -> frozenset[int]:
        return frozenset(pitch % 12 for pitch in self.pitches)


def chord(mode: str, degree: int) -> Chord:
    """Return the triad on a scale degree, 0 for the tonic.

    In minor, the dominant is major and degree 1 stands for the triad on the lowered seventh. There are no
    diminished triads.
    """
    if mode == "major":
        return Chord((0, 2, 4, 5, 7, 9)[degree], 3 if degree in (1, 2, 5) else 4)
    return Chord((0, 10, 3, 5, 7, 8, 10)[degree], 3 if degree in (0, 3) else 4)
