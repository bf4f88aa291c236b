"""The training songs as the FSQ's codes say them, which the LM learns to write."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from configs.domain import LATENTS_PER_CODE
from training.blocks import BlockFiles
from training.clock import Clock
from training.codes import CodeBook, trained_codes
from training.data import SongBlocks
from training.latents import Latents
from training.recipe import Recipe


@dataclass(frozen=True)
class SongCodes:
    """Codes of every song in `folder`, from its first frames on: five different ways to write it."""

    folder: Path
    songs: SongBlocks

    @cached_property
    def files(self) -> BlockFiles[np.int32]:
        """[ways, songs, codes] each."""
        return BlockFiles(self.folder, "codes", self.songs.recipe.blocks)

    def ways(self, block: int, seconds: int) -> int:
        """How many there are to write the first `seconds`: a whole song cannot start late."""
        return 1 if seconds == self.songs.seconds(block) else LATENTS_PER_CODE

    def of(self, block: int, place: int, late: int) -> npt.NDArray[np.int32]:
        """[codes] of one song without its first `late` frames; -1 where frames are missing."""
        codes: npt.NDArray[np.int32] = self.files.arrays[block][late, place]
        return codes


def write_song_codes(songs: SongBlocks, recipe: Recipe, work: Path, clock: Clock) -> bool:
    """Tokenize what is missing until the clock rings; whether nothing is missing any more."""
    song_codes = SongCodes(work / "song_codes", songs)
    latents = Latents(work / "latents", songs)
    codebook = trained_codes(recipe, work, torch.device("cpu"))
    for block in song_codes.files.missing:
        if clock.has_rung:
            return False
        whole = torch.stack([latents.of(block, place) for place in range(recipe.block_songs)])
        ways = [_codes(codebook, whole[:, late:]) for late in range(LATENTS_PER_CODE)]
        filled = [
            np.pad(way, ((0, 0), (0, ways[0].shape[1] - way.shape[1])), constant_values=-1) for way in ways
        ]
        song_codes.files.write(block, np.stack(filled))
    return True


@torch.inference_mode()
def _codes(codebook: CodeBook, latents: torch.Tensor) -> npt.NDArray[np.int32]:
    """[songs, codes] of the frames [songs, frames, channels] that make whole codes."""
    frames = latents.shape[1] // LATENTS_PER_CODE * LATENTS_PER_CODE
    _, indices = codebook.tokenizer.tokenize(latents[:, :frames])
    codes: npt.NDArray[np.int32] = indices[..., 0].to(torch.int32).numpy()
    return codes
