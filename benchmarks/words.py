"""Draws captions and lyrics without meaning."""

import random

_WORDS = (
    "warm",
    "slow",
    "bright",
    "piano",
    "strings",
    "calm",
    "song",
    "of",
    "rain",
    "light",
    "night",
    "drums",
)


def words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(_WORDS, k=count))


def lyrics(chance: random.Random) -> str:
    """Return four lines of lyrics."""
    return "\n".join(words(chance, 6) for _ in range(4))
