"""Makes whole songs from their numbers. The same number always gives the same song."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from training.songs.captions import caption
from training.songs.composing import Score, compose
from training.songs.description import Description, describe
from training.songs.instruments import Wave
from training.songs.mixing import mix

SEED = 20_261_122


class Purpose(IntEnum):
    """The use of a song. Songs of different purposes never share a seed."""

    TRAINING = 0
    PROBE = 1
    """The probes of `benchmarks.listening` learn from these songs."""
    EVALUATION = 2
    VALIDATION = 3


@dataclass(frozen=True)
class Song:
    """A song and its description."""

    description: Description
    caption: str
    audio: Wave
    """[2, samples] at 48 kHz."""


def generator(purpose: Purpose, number: int) -> np.random.Generator:
    """Return the generator from which all properties of a song are drawn."""
    return np.random.default_rng([SEED, purpose, number])


def song(purpose: Purpose, number: int, seconds: int | None = None) -> Song:
    """Compose and render a song."""
    rng, description, words = _begun(purpose, number, seconds)
    return Song(description, words, render(description, rng))


def score(purpose: Purpose, number: int, seconds: int | None = None) -> tuple[Description, Score]:
    """Return a song's description and its notes."""
    rng, description, _ = _begun(purpose, number, seconds)
    return description, compose(description, rng)


def _begun(
    purpose: Purpose, number: int, seconds: int | None
) -> tuple[np.random.Generator, Description, str]:
    """Return the generator in the state in which composing begins, the description and the caption."""
    rng = generator(purpose, number)
    description = describe(rng, seconds)
    return rng, description, caption(description, rng)


def render(description: Description, rng: np.random.Generator) -> Wave:
    """Compose a described song and return its samples [2, samples]."""
    return mix(description, compose(description, rng), rng)
