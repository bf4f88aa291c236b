"""Trains the FSQ tokenizer, which turns latents into 5 Hz codes and back into similar latents.

The codes also keep where notes begin (`training.onsets`).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from configs.domain import SAMPLES_PER_LATENT
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.checkpoints.loading import MODULE_CLASSES
from training.chunk import Chunk
from training.data import SongBlocks
from training.files import load_weights, save_weights
from training.latents import Latents
from training.loop import Losses, Training
from training.onsets import Ear, onsets
from training.recipe import Recipe

WEIGHTS = "codes.pt"
_SEED = 2_000_000_000
_CODES_AN_EXCERPT = 25


class CodeBook(nn.Module):
    """Holds diffusers' tokenizer and detokenizer."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        parts = (Component.AUDIO_TOKENIZER, Component.AUDIO_TOKEN_DETOKENIZER)
        self.tokenizer: Any
        self.detokenizer: Any
        self.tokenizer, self.detokenizer = (
            MODULE_CLASSES[part](**module_arguments(part, config)) for part in parts
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Encode [batch, frames, channels] into codes and decode these.

        `frames` must be a multiple of five.
        """
        quantized, _ = self.tokenizer.tokenize(latents)
        said: torch.Tensor = self.detokenizer(quantized)
        return said


def let_gradients_through(quantizer: Any) -> None:
    """Treat rounding as the identity in the backward pass (straight-through estimator)."""
    round_off = quantizer._quantize
    quantizer._quantize = lambda values: values + (round_off(values) - values).detach()


class _Learner(nn.Module):
    """The codes together with an `Ear`, which recognises onsets in the decoded latents."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.codebook = CodeBook(config)
        self.ear = Ear(config["audio_acoustic_hidden_dim"])

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return [batch, frames, channels] decoded from codes, and the onsets [batch, frames] heard in it."""
        said = self.codebook(latents)
        return said, self.ear(said)


def train_codes(songs: SongBlocks, recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Train until the chunk is over. A finished stage leaves its weights in `work/codes.pt`."""
    torch.manual_seed(_SEED)
    latents = Latents(work / "latents", songs)
    learner = _Learner(recipe.dit)
    let_gradients_through(learner.codebook.tokenizer.quantizer)
    training = Training(work / "codes", learner, recipe.codes, _SEED)
    frames = _CODES_AN_EXCERPT * learner.codebook.tokenizer.pool_window_size

    def batch_of(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        excerpts, waveforms = [], []
        for _ in range(recipe.codes.batch):
            block = int(torch.randint(recipe.blocks, (), generator=generator))
            place = int(torch.randint(recipe.block_songs, (), generator=generator))
            song = latents.of(block, place)
            start = int(torch.randint(len(song) - frames + 1, (), generator=generator))
            excerpts.append(song[start : start + frames])
            first, last = SAMPLES_PER_LATENT * start, SAMPLES_PER_LATENT * (start + frames)
            waveforms.append(songs.audio(block, place, first, last).mean(axis=0))
        return torch.stack(excerpts), torch.from_numpy(onsets(np.stack(waveforms)))

    def loss_of(
        module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], _generator: torch.Generator
    ) -> Losses:
        wanted, to_hear = (part.to(training.device) for part in batch)
        said, told = module(wanted)
        losses = {"latents": mse_loss(said, wanted), "onsets": mse_loss(told, to_hear)}
        return {"loss": losses["latents"] + losses["onsets"], **losses}

    if not training.run(batch_of, loss_of, chunk):
        return False
    training.take_average()
    save_weights(learner.codebook, work / WEIGHTS)
    return True


def trained_codes(recipe: Recipe, work: Path, device: torch.device) -> CodeBook:
    """Return the codebook that `train_codes` has trained, frozen."""
    codebook = CodeBook(recipe.dit)
    load_weights(codebook, work / WEIGHTS)
    return codebook.to(device).eval().requires_grad_(False)
