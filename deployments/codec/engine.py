"""The engine of the VAE, which encodes and decodes tiles. It knows no threads and no requests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from configs.domain import AUDIO_CHANNELS, SAMPLE_RATE, SAMPLES_PER_LATENT
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.vae_modules import AutoencoderOobleck
from deployments.codec.folding import compiled_snake, fold
from deployments.codec.tiles import Tile, cut_into_tiles, even_width
from deployments.common.latents_store import Latents

if TYPE_CHECKING:
    from deployments.common.stored_recordings import Samples

_Array = npt.NDArray[np.float32]


@dataclass
class TiledPass:
    """One pass of a sequence through the encoder or the decoder, cut into tiles.

    `source` and `result` are [channels, length]; one is in latent frames, the other in samples.
    """

    encodes: bool
    source: _Array
    result: _Array
    tiles: list[Tile]
    waiting: list[Tile] = field(init=False)
    done: int = 0
    """Number of tiles whose core is in `result`."""

    def __post_init__(self) -> None:
        self.waiting = self.tiles.copy()

    @property
    def shape(self) -> tuple[bool, int]:
        """(`encodes`, width of the tiles). Tiles of passes with the same shape can share a forward."""
        return self.encodes, self.tiles[0].stop - self.tiles[0].start

    def window(self, tile: Tile) -> _Array:
        scale = SAMPLES_PER_LATENT if self.encodes else 1
        return self.source[:, tile.start * scale : tile.stop * scale]

    def put_core(self, tile: Tile, output: _Array) -> None:
        """Write the core of the model's `output` [channels, length] for the window of `tile`."""
        scale = 1 if self.encodes else SAMPLES_PER_LATENT
        core = slice(tile.core_start * scale, tile.core_stop * scale)
        offset = tile.start * scale
        self.result[:, core] = output[:, core.start - offset : core.stop - offset]
        self.done += 1


class VaeEngine:
    """Encodes and decodes with an AutoencoderOobleck, which `fold` makes faster."""

    def __init__(
        self,
        vae: AutoencoderOobleck,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        tile_frames: int = 256,
        shared_forwards: bool = True,
        compiled: bool = True,
    ) -> None:
        """`vae` is changed and must not be used elsewhere. It should be in float32, so that folding is exact.

        With `shared_forwards` all tiles have the same width, so that tiles of different songs fit into one
        forward; without it, a song's tiles are as narrow as their number allows. With `compiled`, the
        activation functions are compiled on a GPU; RuntimeError is raised if this fails. Raises
        CheckpointError for a VAE with another hop, sample rate or number of channels than ACE-Step 1.5's.
        """
        made = (vae.hop_length, vae.sampling_rate, vae.config.audio_channels)
        wanted = (SAMPLES_PER_LATENT, SAMPLE_RATE, AUDIO_CHANNELS)
        if made != wanted:
            raise CheckpointError(
                f"the VAE has (samples a latent frame, Hz, channels) {made}, ACE-Step 1.5 works with {wanted}"
            )
        fuses = compiled and torch.device(device).type == "cuda"
        fold(vae, compiled_snake(device, dtype) if fuses else None)
        self._vae = vae.eval()
        for part in (vae.encoder, vae.decoder):
            part.to(device=device, dtype=dtype)
        self._device = device
        self._dtype = dtype
        self._tile_frames = tile_frames
        self._shared_forwards = shared_forwards
        self._latent_channels: int = vae.config.decoder_input_channels

    def decoding(self, latents: Latents) -> TiledPass:
        """A pass that decodes latents [frames, channels] to a waveform [2, frames × 1920]."""
        frames, channels = latents.shape
        if channels != self._latent_channels or not frames:
            raise ValueError(f"expected latents [frames, {self._latent_channels}], got {list(latents.shape)}")
        waveform = np.empty((AUDIO_CHANNELS, frames * SAMPLES_PER_LATENT), np.float32)
        return TiledPass(False, latents.T, waveform, self._tiles(frames))

    def encoding(self, samples: "Samples") -> TiledPass:
        """A pass that encodes samples [2, n], padded with zeros, to latents [channels, ceil(n / 1920)]."""
        channels, length = samples.shape
        if channels != AUDIO_CHANNELS or not length:
            raise ValueError(f"expected samples [{AUDIO_CHANNELS}, n], got {list(samples.shape)}")
        frames = -(-length // SAMPLES_PER_LATENT)
        whole_frames = np.pad(samples, ((0, 0), (0, frames * SAMPLES_PER_LATENT - length)))
        latents = np.empty((self._latent_channels, frames), np.float32)
        return TiledPass(True, whole_frames, latents, self._tiles(frames))

    def _tiles(self, frames: int) -> list[Tile]:
        width = self._tile_frames if self._shared_forwards else even_width(frames, self._tile_frames)
        return cut_into_tiles(frames, width)

    @torch.inference_mode()
    def run(self, batch: Sequence[tuple[TiledPass, Tile]]) -> None:
        """Run one forward with tiles of passes that have the same `shape`."""
        encodes = batch[0][0].encodes
        windows = np.stack([tiled.window(tile) for tiled, tile in batch])
        rows = torch.from_numpy(windows)[:, :, None]
        inputs = rows.to(self._device, self._dtype, memory_format=torch.channels_last)
        outputs = self._vae.encode(inputs).latent_dist.mode() if encodes else self._vae.decode(inputs).sample
        for (tiled, tile), output in zip(batch, outputs[:, :, 0].float().cpu().numpy(), strict=True):
            tiled.put_core(tile, output)

    def decode(self, latents: Latents) -> "Samples":
        """Decode latents [frames, channels] to a waveform [2, frames × 1920], one tile after the other."""
        return self._run_alone(self.decoding(latents))

    def encode(self, samples: "Samples") -> Latents:
        """Encode samples [2, n] to posterior means [ceil(n / 1920), channels], one tile after the other."""
        return self._run_alone(self.encoding(samples)).T

    def _run_alone(self, tiled: TiledPass) -> _Array:
        for tile in tiled.tiles:
            self.run([(tiled, tile)])
        return tiled.result
