"""Stores the audio codes of the training songs, which the language model learns to write."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from configs.domain import LATENTS_PER_CODE
from training.blocks import BlockFiles
from training.chunk import Chunk
from training.codes import CodeBook, trained_codes
from training.data import SongBlocks
from training.latents import Latents
from training.recipe import Recipe

FOLDER = "song_codes"


@dataclass(frozen=True)
class SongCodes:
    """Codes of every song, in `folder`. A song has five versions, which begin at its first five frames."""

    folder: Path
    songs: SongBlocks

    @cached_property
    def files(self) -> BlockFiles[np.int32]:
        """Return the files of the blocks, arrays [ways, songs, codes]."""
        return BlockFiles(self.folder, "codes", self.songs.recipe.blocks)

    def ways(self, block: int, seconds: int) -> int:
        """Return the number of versions of the first `seconds`.

        A whole song has one, because it cannot start late.
        """
        return 1 if seconds == self.songs.seconds(block) else LATENTS_PER_CODE

    def of(self, block: int, place: int, late: int) -> npt.NDArray[np.int32]:
        """Return [codes] of one song without its first `late` frames.

        Codes are -1 where frames are missing.
        """
        codes: npt.NDArray[np.int32] = self.files.arrays[block][late, place]
        return codes


def write_song_codes(songs: SongBlocks, recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Tokenize missing blocks until the chunk is over. Return whether none is missing."""
    song_codes = SongCodes(work / FOLDER, songs)
    latents = Latents(work / "latents", songs)
    codebook = trained_codes(recipe, work, torch.device("cpu"))
    for block in song_codes.files.missing:
        if chunk.is_over:
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
    """Return [songs, codes] of the frames [songs, frames, channels] that fill whole codes."""
    frames = latents.shape[1] // LATENTS_PER_CODE * LATENTS_PER_CODE
    _, indices = codebook.tokenizer.tokenize(latents[:, :frames])
    codes: npt.NDArray[np.int32] = indices[..., 0].to(torch.int32).numpy()
    return codes
