"""Stores the rendered songs on disk in blocks of one duration, as 16 bit samples.

Only audio is stored, because the description of a song can always be drawn again from its number.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.blocks import BlockFiles
from training.chunk import Chunk
from training.recipe import Recipe
from training.songs.description import Description, describe
from training.songs.song import Purpose, generator, song

_FULL_SCALE = 32767


@dataclass(frozen=True)
class SongBlocks:
    """The training songs in `folder`."""

    folder: Path
    recipe: Recipe

    def seconds(self, block: int) -> int:
        """Return the duration of each song of a block in seconds."""
        return self.recipe.durations[block % len(self.recipe.durations)]

    def numbers(self, block: int) -> range:
        """Return the numbers of a block's songs."""
        return range(block * self.recipe.block_songs, (block + 1) * self.recipe.block_songs)

    @cached_property
    def files(self) -> BlockFiles[np.int16]:
        """Return the files of the blocks, arrays [songs, 2, samples]."""
        return BlockFiles(self.folder, "songs", self.recipe.blocks)

    def description(self, block: int, place: int) -> Description:
        """Return the description of the song with index `place` in a block."""
        return describe(generator(Purpose.TRAINING, self.numbers(block)[place]), self.seconds(block))

    def draw_seconds(self, rng: np.random.Generator) -> int:
        """Draw one of the durations. Each one gets the same share of the total time."""
        durations = self.recipe.durations
        shares = 1 / np.array(durations)
        return durations[int(rng.choice(len(durations), p=shares / shares.sum()))]

    def lasting(self, shortest: int, longest: int) -> list[int]:
        """Return the blocks whose songs last between `shortest` and `longest` seconds."""
        return [block for block in range(self.recipe.blocks) if shortest <= self.seconds(block) <= longest]

    def draw(self, blocks: list[int], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Draw pairs of (one of the blocks, index of a song in it)."""
        return [
            (blocks[int(rng.integers(len(blocks)))], int(rng.integers(self.recipe.block_songs)))
            for _ in range(count)
        ]

    def audio(self, block: int, place: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return [2, stop - start]: samples of one song in full scale 1."""
        samples: npt.NDArray[np.float32] = self.files.arrays[block][place, :, start:stop].astype(np.float32)
        return samples / np.float32(_FULL_SCALE)


def render_songs(songs: SongBlocks, chunk: Chunk) -> bool:
    """Render missing blocks on all processors until the chunk is over. Return whether none is missing."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(_render_block, songs, chunk.end), songs.files.missing))
    missing = len(songs.files.missing)
    print(f"songs: {songs.recipe.blocks - missing} of {songs.recipe.blocks} blocks", flush=True)
    return not missing


def _render_block(songs: SongBlocks, end: float, block: int) -> None:
    """Render a block, unless the monotonic clock is past `end`."""
    if time.monotonic() > end:
        return
    made = [song(Purpose.TRAINING, number, songs.seconds(block)).audio for number in songs.numbers(block)]
    songs.files.write(block, np.round(np.stack(made) * _FULL_SCALE).astype(np.int16))
