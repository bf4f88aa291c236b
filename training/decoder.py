"""The codec's decoder once more, for the colour of sounds, while the encoder stays as it is.

What a waveform's details cannot be told exactly is best left out, say the losses of the whole codec, so it
comes out too quiet. Levels on a mel scale say how loud it has to be, whatever its phase. Latents are noised
as those that the DiT makes are: never quite the encoder's.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from auraloss.freq import MultiResolutionSTFTLoss
from torch import nn

from configs.domain import SAMPLE_RATE
from deployments.checkpoints.catalog import VAE
from training.clock import Clock
from training.codec import excerpts, save_vae, spectral_loss, trained_codec
from training.data import SongBlocks
from training.files import MODELS
from training.loop import Losses, Training
from training.recipe import Recipe
from training.subbands import decode, encode

_SEED = 6_000_000_000
_LEVELS_WEIGHT = 2.0
_WAVEFORM_WEIGHT = 2.0
_MEL_BANDS = 64
_MEL_RESOLUTIONS = (4096, 2048, 1024, 512)
"""Longer than the codec's: a band of a short one would have no bin."""
_MEL_FLOOR = 1e-4
_MOST_NOISE = 0.2
"""Deviation; that of latents is 1."""


class DecoderLoss:
    """What the decoder minimises."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spectra = spectral_loss(device)
        self._levels = MultiResolutionSTFTLoss(
            fft_sizes=list(_MEL_RESOLUTIONS),
            hop_sizes=[size // 4 for size in _MEL_RESOLUTIONS],
            win_lengths=list(_MEL_RESOLUTIONS),
            w_sc=0.0,
            sample_rate=SAMPLE_RATE,
            scale="mel",
            n_bins=_MEL_BANDS,
            eps=_MEL_FLOOR,
        ).to(device)

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
    """[batch, 3, samples] of [batch, 2, samples]: both channels and what a single loudspeaker plays."""
    return torch.cat([waveform, waveform.mean(dim=1, keepdim=True)], dim=1)


def train_decoder(songs: SongBlocks, recipe: Recipe, work: Path, clock: Clock) -> bool:
    """Train until the clock rings; when the stage is done `work/models/vae` is a checkpoint."""
    torch.manual_seed(_SEED)
    vae: Any = trained_codec(work, torch.device("cpu"))
    vae.decoder.requires_grad_(True)
    training = Training(work / "decoder", vae, recipe.decoder, _SEED)
    batch_of = partial(excerpts, songs, recipe, recipe.decoder.batch)
    if not training.run(batch_of, DecoderLoss(training.device), clock):
        return False
    training.take_average()
    save_vae(vae, recipe.vae, work / MODELS / VAE)
    return True
