"""Writes the prompts of the DiT and its text encoder, in the words of people and of the language model."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer

from configs.domain import INSTRUCTIONS, INSTRUMENTAL, TIME_SIGNATURES, Task
from deployments.common.messages import Metadata
from deployments.generator.prompts import (
    MAX_CAPTION_TOKENS,
    MAX_LYRIC_TOKENS,
    caption_prompt,
    lyric_prompt,
)
from deployments.generator.text_encoder import PromptTokenizer
from deployments.tiny_checkpoints.corpus import CORPUS
from deployments.tiny_checkpoints.tokenizer import train_tokenizer
from training.songs.captions import caption, vague_caption
from training.songs.description import Description, describe, one_of
from training.songs.genres import GENRES
from training.songs.song import Purpose, generator
from training.songs.theory import MODES, Key

_CORPUS_SONGS = 400
_LANGUAGES = ("en", "unknown")
_LM_TIME_SIGNATURES = {written: name for name, written in TIME_SIGNATURES.items()}
_FORGOTTEN = 0.1
"""Share of prompts that lack a given piece of metadata."""
_LEFT_TO_MUSIC = 0.5
"""Share of referenced songs whose prompt omits what the reference tells.

Otherwise the DiT would ignore references.
"""
_UNTOLD, _GUESSED = 1 / 3, 1 / 3
"""Shares of songs shown as audio whose prompt has no metadata, or guessed metadata.

The language model makes such guesses from the caption alone. The server asks it for metadata that nobody
gave, and then the audio is right.
"""

Ids = tuple[int, ...]


@cache
def text_tokenizer(vocabulary_size: int) -> Tokenizer:
    """Train a byte-level BPE that knows the words of captions."""
    captions = []
    for number in range(_CORPUS_SONGS):
        rng = generator(Purpose.VALIDATION, number)
        captions.append(caption(describe(rng), rng))
    return train_tokenizer(vocabulary_size, CORPUS + "\n".join(captions) + "\n")


class Prompter:
    """Returns the token ids of a song's two prompts, worded differently each time."""

    def __init__(self, vocabulary_size: int) -> None:
        self._tokenize = PromptTokenizer(text_tokenizer(vocabulary_size))

    def __call__(
        self, song: Description, task: Task, referenced: bool, rng: np.random.Generator
    ) -> tuple[Ids, Ids]:
        """Return lyric ids and caption ids. They omit part of what codes, other audio or a reference tell."""
        metadata = _metadata(song, rng) if task is Task.TEXT2MUSIC else _metadata_beside_music(song, rng)
        vague = referenced and rng.random() < _LEFT_TO_MUSIC
        words = vague_caption(song, rng) if vague else caption(song, rng)
        text = caption_prompt(INSTRUCTIONS[task], words, metadata)
        lyrics = song.lyrics if rng.random() < 0.3 else INSTRUMENTAL
        lyric_text = lyric_prompt(lyrics, one_of(rng, _LANGUAGES))
        return (
            self._tokenize(lyric_text, MAX_LYRIC_TOKENS).ids,
            self._tokenize(text, MAX_CAPTION_TOKENS).ids,
        )


def _metadata_beside_music(song: Description, rng: np.random.Generator) -> Metadata:
    draw = rng.random()
    if draw < _UNTOLD:
        return Metadata(duration=float(song.seconds))
    return _metadata(_guess(song, rng) if draw < _UNTOLD + _GUESSED else song, rng)


def _guess(song: Description, rng: np.random.Generator) -> Description:
    """Return a song of the same caption with a tempo and key that the caption does not determine."""
    low, high = GENRES[song.genre].tempo
    key = Key(int(rng.integers(12)), one_of(rng, MODES))
    return replace(song, bpm=int(rng.integers(low, high + 1)), key=key)


def _metadata(song: Description, rng: np.random.Generator) -> Metadata:
    key = song.key.name
    tonic, mode = key.split()
    spelled = one_of(rng, (key, key, f"{tonic} {mode.title()}", tonic + ("m" if mode == "minor" else "")))
    metre = one_of(rng, (song.metre, _LM_TIME_SIGNATURES[song.metre]))
    return Metadata(
        bpm=None if rng.random() < _FORGOTTEN else song.bpm,
        key_scale=None if rng.random() < _FORGOTTEN else spelled,
        time_signature=None if rng.random() < _FORGOTTEN else metre,
        duration=float(song.seconds),
    )


def padded(rows: list[Ids]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, both [rows, longest], padded on the right."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask
