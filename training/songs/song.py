"""Whole songs by number: the same number, the same song."""

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
    """Songs of different purposes never share a seed."""

    TRAINING = 0
    PROBE = 1
    """The instrument probe and the drum probe learn from these."""
    EVALUATION = 2
    VALIDATION = 3


@dataclass(frozen=True)
class Song:
    """A song and what it is."""

    description: Description
    caption: str
    audio: Wave
    """[2, samples] at 48 kHz."""


def generator(purpose: Purpose, number: int) -> np.random.Generator:
    """The source of everything that is drawn for a song."""
    return np.random.default_rng([SEED, purpose, number])


def song(purpose: Purpose, number: int, seconds: int | None = None) -> Song:
    """Composed and rendered."""
    rng, description, words = _begun(purpose, number, seconds)
    return Song(description, words, render(description, rng))


def score(purpose: Purpose, number: int, seconds: int | None = None) -> tuple[Description, Score]:
    """What is played in a song."""
    rng, description, _ = _begun(purpose, number, seconds)
    return description, compose(description, rng)


def _begun(
    purpose: Purpose, number: int, seconds: int | None
) -> tuple[np.random.Generator, Description, str]:
    """The generator as composing finds it, and what was drawn before."""
    rng = generator(purpose, number)
    description = describe(rng, seconds)
    return rng, description, caption(description, rng)


def render(description: Description, rng: np.random.Generator) -> Wave:
    """[2, samples]: a song as described."""
    return mix(description, compose(description, rng), rng)
