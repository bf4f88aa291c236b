"""Trains the 5 Hz LM with the server's prompts: from caption and lyrics to metadata and audio codes.

A code consists of the six digits of the FSQ. They are split into two halves, and the embedding of a code is
the sum of the embeddings of its halves. There are 637 such vectors instead of 64,000, so each one is seen
often. As inputs and outputs share embeddings, the two halves of the next code are independent given the
tokens before it, and the softmax over all codes becomes one softmax for each half. The checkpoint contains
the full table of the official layout.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from configs.domain import CODE_RATE, INSTRUMENTAL, code_token
from deployments.common.messages import Metadata
from deployments.language_model.text.metadata import cot_yaml, lm_fields
from deployments.language_model.text.prompts import (
    Prompt,
    Token,
    compose_prompt,
    plan_prompt,
    unconditional_compose_prompt,
)
from deployments.language_model.text.tokenizer import LMTokenizer
from deployments.tiny_checkpoints.language_model import CODE_TOKENS, tokenizer_config, tokenizer_spec
from training.chunk import Chunk
from training.data import SongBlocks
from training.files import load_weights, save_weights, write_json
from training.loop import Losses, Training
from training.prompting import text_tokenizer
from training.recipe import Recipe
from training.song_codes import FOLDER as SONG_CODES
from training.song_codes import SongCodes
from training.songs.captions import caption
from training.songs.description import Description

WEIGHTS = "song_writer.pt"
EMBEDDINGS = "model.embed_tokens.weight"
_SEED = 5_000_000_000
_UNCONDITIONAL = 0.12
"""Share of songs without caption and metadata, which train the unconditional row of guidance."""
_TAGGED = 0.5
"""Share of the other songs whose lyrics are section tags."""
_NO_TARGET = -100
_LENGTHS = 64
"""Batches are padded to a multiple of this length, so that compiled layers see few shapes."""

Lesson = tuple[list[int], list[int]]
"""Token ids of the prompt, and those to predict."""


class SongWriter(nn.Module):
    """transformers' Qwen3 with embeddings of text tokens and of the halves of codes."""

    def __init__(self, config: dict[str, Any], text_tokens: int, levels: list[int]) -> None:
        """Build the model for `text_tokens` tokens, then codes whose digits have `levels` values.

        The attention is the eager one. At these lengths its gradient takes half the time of the fused one's.
        """
        from transformers import Qwen3Config, Qwen3Model

        super().__init__()
        hidden = config["hidden_size"]
        self.text = nn.Embedding(text_tokens, hidden)
        middle = len(levels) // 2
        self.lower = nn.Embedding(math.prod(levels[:middle]), hidden)
        self.upper = nn.Embedding(math.prod(levels[middle:]), hidden)
        self.body: Any = Qwen3Model(
            Qwen3Config(**config | {"vocab_size": 1, "dtype": "float32"}, attn_implementation="eager")
        )
        for embedding in (self.text, self.lower, self.upper):
            nn.init.normal_(embedding.weight, std=0.02)

    def compile_layers(self) -> None:
        """Compile the layers anew for each length of a batch."""
        for layer in self.body.layers:
            layer.compile(dynamic=False)

    def halves_of(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the two halves [...] of codes [...]. The FSQ's first digit is the lowest."""
        return codes % self.lower.num_embeddings, codes // self.lower.num_embeddings

    def embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings [..., hidden] of token ids [...]."""
        first_code = self.text.num_embeddings
        is_code = ids >= first_code
        text = self.text(ids.masked_fill(is_code, 0))
        return torch.where(is_code.unsqueeze(-1), self._codes((ids - first_code).clamp_min(0)), text)

    def _codes(self, codes: torch.Tensor) -> torch.Tensor:
        lower, upper = self.halves_of(codes)
        embedded: torch.Tensor = self.lower(lower) + self.upper(upper)
        return embedded

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> Losses:
        """Return the mean losses of the next tokens.

        `ids` and `targets` are [batch, length]; -100 is no target.
        """
        states = self.body(inputs_embeds=self.embedded(ids), use_cache=False).last_hidden_state
        first_code = self.text.num_embeddings
        is_code, is_text = targets >= first_code, (targets >= 0) & (targets < first_code)
        text = _mean_loss(states[is_text] @ self.text.weight.T, targets[is_text])
        lower, upper = self.halves_of(targets[is_code] - first_code)
        of_codes = states[is_code]
        codes = _mean_loss(of_codes @ self.lower.weight.T, lower) + _mean_loss(
            of_codes @ self.upper.weight.T, upper
        )
        return {"loss": codes + text, "codes": codes, "text": text}

    @torch.no_grad()
    def official_state(self) -> dict[str, torch.Tensor]:
        """Return the weights under their official names, with a row for each token of the vocabulary."""
        count = self.lower.num_embeddings * self.upper.num_embeddings
        codes = self._codes(torch.arange(count, device=self.text.weight.device))
        unused = codes.new_zeros(CODE_TOKENS - len(codes), codes.shape[1])
        return {
            EMBEDDINGS: torch.cat([self.text.weight, codes, unused]),
            **{
                f"model.{name}": tensor
                for name, tensor in self.body.state_dict().items()
                if name != "embed_tokens.weight"
            },
        }


def _mean_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of the targets, or 0 if there are none."""
    return cross_entropy(logits, targets, reduction="sum") / max(1, len(targets))


@dataclass(frozen=True)
class Vocabulary:
    """The official vocabulary with the miniature's own words."""

    spec: dict[str, Any]
    """The content of `tokenizer.json`."""
    tokenizer: LMTokenizer

    def write(self, folder: Path) -> None:
        """Write tokenizer.json and its config."""
        (folder / "tokenizer.json").write_text(json.dumps(self.spec, ensure_ascii=False))
        write_json(folder / "tokenizer_config.json", tokenizer_config())


@cache
def vocabulary(text_tokens: int) -> Vocabulary:
    """Return the vocabulary with this many text tokens.

    It is cached, because training a BPE takes seconds.
    """
    bpe = json.loads(text_tokenizer(text_tokens).to_str()) | {"post_processor": None}
    spec = tokenizer_spec(bpe)
    return Vocabulary(spec, LMTokenizer.from_spec(spec))


@dataclass(frozen=True)
class Beginnings:
    """Draws the first seconds of songs with their codes.

    Longer songs are cut and may begin up to a fifth of a second late, which gives more examples than there
    are songs.
    """

    codes: SongCodes

    def draw(self, count: int, rng: np.random.Generator) -> list[tuple[Description, tuple[int, ...]]]:
        """Draw `count` beginnings of one common duration."""
        songs = self.codes.songs
        seconds = songs.draw_seconds(rng)
        chosen = songs.draw(songs.lasting(seconds, max(songs.recipe.durations)), count, rng)
        drawn = []
        for block, place in chosen:
            late = int(rng.integers(self.codes.ways(block, seconds)))
            codes = self.codes.of(block, place, late)[: seconds * CODE_RATE]
            drawn.append((songs.description(block, place).first(seconds), tuple(codes.tolist())))
        return drawn


def lesson(song: Description, codes: tuple[int, ...], rng: np.random.Generator, words: LMTokenizer) -> Lesson:
    """Return one song in the format of the server's prompts."""
    code_tokens: Prompt = tuple(Token(code_token(code)) for code in codes)
    if rng.random() < _UNCONDITIONAL:
        return words.encode(unconditional_compose_prompt(None)), words.encode(code_tokens)
    lyrics = song.lyrics if rng.random() < _TAGGED else INSTRUMENTAL
    text = caption(song, rng)
    metadata = Metadata(song.bpm, song.key.name, song.metre, float(song.seconds))
    whole = words.encode(compose_prompt(text, lyrics, cot_yaml(lm_fields(metadata, "unknown"))))
    shown = words.encode(plan_prompt(text, lyrics))
    return shown, whole[len(shown) :] + words.encode(code_tokens)


def batch_of_lessons(lessons: Sequence[Lesson]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and next-token targets, both [batch, length], padded on the right."""
    longest = max(len(shown) + len(told) for shown, told in lessons) - 1
    length = longest + -longest % _LENGTHS
    ids = torch.zeros(len(lessons), length, dtype=torch.long)
    targets = torch.full((len(lessons), length), _NO_TARGET)
    for row, (shown, told) in enumerate(lessons):
        tokens = torch.tensor(shown + told)
        ids[row, : len(tokens) - 1] = tokens[:-1]
        targets[row, len(shown) - 1 : len(tokens) - 1] = tokens[len(shown) :]
    return ids, targets


def train_song_writer(songs: SongBlocks, recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Train until the chunk is over. A finished stage leaves its weights in `work/song_writer.pt`."""
    torch.manual_seed(_SEED)
    writer = new_song_writer(recipe)
    if recipe.compiled:
        writer.compile_layers()
    training = Training(work / "song_writer", writer, recipe.song_writer, _SEED)
    beginnings = Beginnings(SongCodes(work / SONG_CODES, songs))
    words = vocabulary(recipe.text["vocab_size"]).tokenizer

    def batch_of(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        drawn = beginnings.draw(recipe.song_writer.batch, rng)
        return batch_of_lessons([lesson(song, codes, rng, words) for song, codes in drawn])

    def loss_of(module: nn.Module, batch: Any, _generator: torch.Generator) -> Losses:
        losses: Losses = module(*(part.to(training.device) for part in batch))
        return losses

    if not training.run(batch_of, loss_of, chunk):
        return False
    training.take_average()
    save_weights(training.module, work / WEIGHTS)
    return True


def new_song_writer(recipe: Recipe) -> SongWriter:
    """Return a model with random weights."""
    first_code = vocabulary(recipe.text["vocab_size"]).tokenizer.first_code
    return SongWriter(recipe.language_model, first_code, recipe.dit["fsq_input_levels"])


def trained_song_writer(recipe: Recipe, work: Path) -> SongWriter:
    """Return the model that `train_song_writer` has trained, on the CPU."""
    writer = new_song_writer(recipe)
    load_weights(writer, work / WEIGHTS)
    return writer.eval()
