"""Stores the latents of the training songs."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from configs.domain import AUDIO_CHANNELS, LATENT_RATE, SAMPLE_RATE
from deployments.checkpoints.vae_modules import AutoencoderOobleck
from training.blocks import BlockFiles
from training.chunk import Chunk
from training.codec import trained_codec
from training.data import SongBlocks
from training.recipe import Recipe
from training.subbands import encode

FOLDER = "latents"
SILENCE = f"{FOLDER}/silence.npy"
"""File with one frame of silence within a run's folder."""
_SILENT_SECONDS = 1


@dataclass(frozen=True)
class Latents:
    """The codec's posterior means of every song, in `folder`."""

    folder: Path
    songs: SongBlocks

    @cached_property
    def files(self) -> BlockFiles[np.float16]:
        """Return the files of the blocks, arrays [songs, frames, channels]."""
        return BlockFiles(self.folder, "latents", self.songs.recipe.blocks)

    @property
    def silence_file(self) -> Path:
        return self.folder / "silence.npy"

    def of(self, block: int, place: int) -> torch.Tensor:
        """Return the latents [frames, channels] of one song."""
        return torch.from_numpy(self.files.arrays[block][place].astype(np.float32))

    @cached_property
    def silence(self) -> torch.Tensor:
        """Return [channels]: one frame of silence. All frames of silence are alike."""
        return torch.from_numpy(np.load(self.silence_file))


@torch.inference_mode()
def encode_songs(songs: SongBlocks, _recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Encode missing blocks until the chunk is over. Return whether none is missing."""
    latents = Latents(work / FOLDER, songs)
    latents.folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vae = trained_codec(work, device)
    silence = torch.zeros(AUDIO_CHANNELS, _SILENT_SECONDS * SAMPLE_RATE)
    np.save(latents.silence_file, _means(vae, silence)[LATENT_RATE // 2].cpu().numpy())
    for block in latents.files.missing:
        if chunk.is_over:
            return False
        samples = songs.seconds(block) * SAMPLE_RATE
        encoded = []
        for place in range(songs.recipe.block_songs):
            waveform = torch.from_numpy(songs.audio(block, place, 0, samples))
            with torch.autocast(device.type, torch.bfloat16):
                encoded.append(_means(vae, waveform).half().cpu().numpy())
        latents.files.write(block, np.stack(encoded))
    return True


def _means(vae: AutoencoderOobleck, waveform: torch.Tensor) -> torch.Tensor:
    """Encode [2, samples] into means [frames, channels]."""
    means, _ = encode(vae, waveform[None].to(vae.device)).chunk(2, dim=1)
    return means[0].T
