"""Writes captions as people would write them for a song."""

import numpy as np

from training.songs.description import Description, one_of

_INSTRUMENTS = {
    "piano": ("piano", "grand piano", "piano melody"),
    "guitar": ("guitar", "acoustic guitar", "plucked guitar"),
    "organ": ("organ", "drawbar organ", "organ melody"),
    "strings": ("strings", "string ensemble", "violins"),
    "flute": ("flute", "flute melody", "soft flute"),
    "brass": ("brass", "brass section", "trumpets"),
    "synth": ("synthesizer", "synth lead", "synth"),
    "bells": ("bells", "vibraphone", "marimba and bells"),
}
_MOODS = {
    ("major", "slow"): ("calm", "warm", "gentle", "peaceful"),
    ("major", "fast"): ("cheerful", "bright", "upbeat", "happy"),
    ("minor", "slow"): ("melancholic", "sad", "dreamy", "quiet"),
    ("minor", "fast"): ("dark", "dramatic", "energetic", "restless"),
}
_SLOW_BELOW = 100
_WITH_DRUMS = {
    "acoustic": ("drums", "a steady drum beat", "live drums"),
    "electronic": ("drums", "electronic drums", "a drum machine"),
    "brushes": ("drums", "brushed drums", "soft drums"),
}
_WITHOUT_DRUMS = ("without drums", "no drums", "no percussion")


def caption(description: Description, rng: np.random.Generator) -> str:
    """Return one of many wordings. It always names the leading instrument and whether there are drums."""
    mood, kind = _mood(description, rng), _kind(description, rng)
    lead = one_of(rng, _INSTRUMENTS[description.lead])
    accompaniment = _INSTRUMENTS[description.accompaniment][0]
    drums = _drums(description, rng)
    wording = int(rng.integers(4))
    if wording == 0:
        return _sentence(f"{mood} {kind} led by {lead}, with {accompaniment} chords, {drums}")
    if wording == 1:
        return _sentence(f"{mood} {kind} with a {lead} lead over {accompaniment}, {drums}")
    if wording == 2:
        return f"{kind}, {mood}, lead {lead}, {accompaniment} accompaniment, {drums}"
    return _sentence(f"{mood} {kind} with {lead} in front, {drums}")


def vague_caption(description: Description, rng: np.random.Generator) -> str:
    """Return a caption without instruments, as somebody writes it who supplies a recording as reference."""
    return _sentence(f"{_mood(description, rng)} {_kind(description, rng)}")


def _mood(description: Description, rng: np.random.Generator) -> str:
    pace = "slow" if description.bpm < _SLOW_BELOW else "fast"
    return one_of(rng, _MOODS[description.key.mode, pace])


def _kind(description: Description, rng: np.random.Generator) -> str:
    genre = description.genre
    return genre if genre == "waltz" else f"{genre} {one_of(rng, _PIECES)}"


_PIECES = ("song", "piece", "tune", "track")


def _drums(description: Description, rng: np.random.Generator) -> str:
    if description.kit is None:
        return one_of(rng, _WITHOUT_DRUMS)
    return one_of(rng, ("with ", "and ")) + one_of(rng, _WITH_DRUMS[description.kit])


def _sentence(text: str) -> str:
    article = "An" if text[0] in "aeiou" else "A"
    return f"{article} {text}."
