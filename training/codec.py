"""Trains the VAE, which encodes waveforms into 32 channels at 25 Hz and decodes them.

The losses compare spectra at many resolutions (auraloss) and the waveform itself. A small KL term keeps
latents near a normal distribution. There is no adversarial loss, so the decoded sound has less air but the
right notes.
"""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from auraloss.freq import MultiResolutionSTFTLoss
from safetensors.torch import save_file
from torch import nn

from configs.domain import SAMPLE_RATE, SAMPLES_PER_LATENT
from deployments.checkpoints.catalog import VAE
from deployments.checkpoints.diffusers_layout import diffusers_arguments
from deployments.checkpoints.vae_loading import load_vae
from deployments.checkpoints.vae_modules import AutoencoderOobleck, OobleckDiagonalGaussianDistribution
from training.chunk import Chunk
from training.data import SongBlocks
from training.files import write_json
from training.loop import Losses, Training
from training.recipe import Recipe
from training.subbands import begin_with_subbands, decode, encode, scale_to

WEIGHTS = "diffusion_pytorch_model.safetensors"
CHECKPOINT = f"codec/{VAE}"
"""Folder of the stage's checkpoint within a run's folder."""
_SEED = 1_000_000_000
_WAVEFORM_WEIGHT = 5.0
_KL_WEIGHT = 1e-3
_RESOLUTIONS = (4096, 1024, 256)
_SPECTRAL_FLOOR = 1e-3
"""Floor for the power of a bin (full scale is 65,000 at size 1,024).

The VAE need not learn how silent silence is.
"""
_SCALING_EXCERPTS = 8
_CALIBRATION_EXCERPTS = 64


def new_vae(config: dict[str, Any]) -> AutoencoderOobleck:
    """Return a VAE with diffusers' initial weights below 48 kHz."""
    with warnings.catch_warnings():
        # diffusers' VAE still uses the old form of weight norm, as its checkpoints do.
        warnings.filterwarnings("ignore", message=".*weight_norm", category=FutureWarning)
        vae = AutoencoderOobleck(**diffusers_arguments(config))
    begin_with_subbands(vae)
    return vae


def excerpts(songs: SongBlocks, recipe: Recipe, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return [count, 2, samples]: pieces of random songs at random gains of 0.4 to 1."""
    length = round(recipe.codec_seconds * SAMPLE_RATE) // SAMPLES_PER_LATENT * SAMPLES_PER_LATENT
    pieces = []
    for _ in range(count):
        block, place = _below(recipe.blocks, generator), _below(recipe.block_songs, generator)
        start = _below(songs.seconds(block) * SAMPLE_RATE - length, generator)
        pieces.append(torch.from_numpy(songs.audio(block, place, start, start + length)))
    gains = 0.4 + 0.6 * torch.rand(count, 1, 1, generator=generator)
    return gains * torch.stack(pieces)


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))


def spectral_loss(device: torch.device) -> nn.Module:
    """Return the loss between decoded [batch, channels, samples] and the original."""
    loss: nn.Module = MultiResolutionSTFTLoss(
        fft_sizes=list(_RESOLUTIONS),
        hop_sizes=[size // 4 for size in _RESOLUTIONS],
        win_lengths=list(_RESOLUTIONS),
        eps=_SPECTRAL_FLOOR,
    )
    return loss.to(device)


class CodecLoss:
    """The loss that the VAE minimises."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spectra = spectral_loss(device)

    def __call__(self, module: nn.Module, batch: torch.Tensor, generator: torch.Generator) -> Losses:
        waveform = batch.to(self._device)
        vae: Any = module
        posterior = OobleckDiagonalGaussianDistribution(encode(vae, waveform).float())
        noise = torch.randn(posterior.mean.shape, generator=generator).to(self._device)
        decoded = decode(vae, posterior.mean + posterior.std * noise)
        spectra = self._spectra(decoded, waveform)
        difference = (decoded - waveform).abs().mean()
        kl = 0.5 * (posterior.mean**2 + posterior.var - posterior.logvar - 1).mean()
        loss = spectra + _WAVEFORM_WEIGHT * difference + _KL_WEIGHT * kl
        return {"loss": loss, "spectra": spectra, "waveform": difference, "kl": kl}


def train_codec(songs: SongBlocks, recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Train until the chunk is over. A finished stage leaves the checkpoint that `trained_codec` loads."""
    torch.manual_seed(_SEED)
    vae: Any = new_vae(recipe.vae)
    scale_to(vae, excerpts(songs, recipe, _SCALING_EXCERPTS, torch.Generator().manual_seed(_SEED - 2)))
    training = Training(work / "codec", vae, recipe.codec, _SEED)
    batch_of = partial(excerpts, songs, recipe, recipe.codec.batch)
    if not training.run(batch_of, CodecLoss(training.device), chunk):
        return False
    training.take_average()
    calibrate(vae, excerpts(songs, recipe, _CALIBRATION_EXCERPTS, torch.Generator().manual_seed(_SEED - 1)))
    save_vae(vae, recipe.vae, work / CHECKPOINT)
    return True


@torch.no_grad()
def calibrate(vae: AutoencoderOobleck, waveform: torch.Tensor) -> None:
    """Scale the latent channels to deviation 1 on `waveform` [batch, 2, samples].

    Decoding does not change.
    """
    pieces = torch.split(waveform.to(vae.device), 8)
    latents = torch.cat([encode(vae, piece).chunk(2, dim=1)[0] for piece in pieces])
    deviations = latents.std(dim=(0, 2)).clamp_min(1e-4)
    encoder_out: Any = vae.encoder.conv2
    means = slice(0, deviations.numel())  # The other half of the encoder's channels are the deviations.
    encoder_out.weight_g[means] /= deviations[:, None, None]
    encoder_out.bias[means] /= deviations
    decoder_in: Any = vae.decoder.conv1
    direction = decoder_in.weight_v / decoder_in.weight_v.norm(dim=(1, 2), keepdim=True)
    weight = decoder_in.weight_g * direction * deviations[:, None]
    decoder_in.weight_v.copy_(weight)
    decoder_in.weight_g.copy_(weight.norm(dim=(1, 2), keepdim=True))


def save_vae(vae: AutoencoderOobleck, config: dict[str, Any], folder: Path) -> None:
    """Write a checkpoint with weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.half().cpu().contiguous() for name, tensor in vae.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    write_json(folder / "config.json", config)


def trained_codec(work: Path, device: torch.device) -> AutoencoderOobleck:
    """Return the VAE that `train_codec` has trained, frozen."""
    return load_vae(work / CHECKPOINT, str(device), torch.float32)
