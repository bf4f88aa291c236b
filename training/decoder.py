"""Trains the codec's decoder further for natural timbre, while the encoder stays as it is.

Details of a waveform that latents cannot represent are quieter after training with the codec's losses,
because a wrong phase costs more than silence. Levels on a mel scale do not depend on phase, so they restore
the loudness. Noise is added to the latents, because the DiT's latents never match the encoder's exactly.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deployments.checkpoints.catalog import VAE
from training.chunk import Chunk
from training.codec import excerpts, save_vae, spectral_loss, trained_codec
from training.data import SongBlocks
from training.files import MODELS
from training.loop import Losses, Training
from training.mel import MelLevelsLoss
from training.recipe import Recipe
from training.subbands import decode, encode

_SEED = 6_000_000_000
_LEVELS_WEIGHT = 2.0
_WAVEFORM_WEIGHT = 2.0
_MEL_BANDS = 64
_MEL_RESOLUTIONS = (4096, 2048, 1024, 512)
"""Window sizes of the mel levels.

They are longer than the codec's, because short ones have mel bands without any bin.
"""
_MEL_FLOOR = 1e-4
_MOST_NOISE = 0.2
"""Largest deviation of the added noise. Latents have deviation 1."""


class DecoderLoss:
    """The loss that the decoder minimises."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spectra = spectral_loss(device)
        self._levels = MelLevelsLoss(_MEL_BANDS, _MEL_RESOLUTIONS, _MEL_FLOOR).to(device)

    def __call__(self, module: nn.Module, batch: torch.Tensor, generator: torch.Generator) -> Losses:
        waveform = batch.to(self._device)
        vae: Any = module
        with torch.no_grad():
            latents = encode(vae, waveform).chunk(2, dim=1)[0].float()
        deviations = _MOST_NOISE * torch.rand(len(latents), 1, 1, generator=generator)
        noise = deviations * torch.randn(latents.shape, generator=generator)
        decoded = decode(vae, latents + noise.to(self._device))
        levels = self._levels(with_middle(decoded), with_middle(waveform))
        spectra = self._spectra(decoded, waveform)
        difference = (decoded - waveform).abs().mean()
        loss = spectra + _LEVELS_WEIGHT * levels + _WAVEFORM_WEIGHT * difference
        return {"loss": loss, "levels": levels, "spectra": spectra, "waveform": difference}


def with_middle(waveform: torch.Tensor) -> torch.Tensor:
    """Return [batch, 3, samples] of [batch, 2, samples]: both channels and their mean."""
    return torch.cat([waveform, waveform.mean(dim=1, keepdim=True)], dim=1)


def train_decoder(songs: SongBlocks, recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Train until the chunk is over. A finished stage leaves a checkpoint in `work/models/vae`."""
    torch.manual_seed(_SEED)
    vae: Any = trained_codec(work, torch.device("cpu"))
    vae.decoder.requires_grad_(True)
    training = Training(work / "decoder", vae, recipe.decoder, _SEED)
    batch_of = partial(excerpts, songs, recipe, recipe.decoder.batch)
    if not training.run(batch_of, DecoderLoss(training.device), chunk):
        return False
    training.take_average()
    save_vae(vae, recipe.vae, work / MODELS / VAE)
    return True
