"""Trains the miniature, stage by stage.

    python -m training.run all --work .cache/training --minutes 8

The command works on the remaining stages for `--minutes`, keeps the results in `--work`, and tells whether it
is done (exit status 0) or needs another such call (exit status 3). It uses a GPU if there is one.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from deployments.common.processor import keep_freed_memory
from training.chunk import Chunk
from training.codec import train_codec
from training.codes import train_codes
from training.data import SongBlocks, render_songs
from training.decoder import train_decoder
from training.export import export
from training.latents import encode_songs
from training.recipe import FULL, QUICK, Recipe
from training.song_codes import write_song_codes
from training.song_writer import train_song_writer
from training.teacher import train_teacher
from training.turbo import train_turbo

UNFINISHED = 3
"""Exit status when the stage needs another chunk."""

Stage = Callable[[SongBlocks, Recipe, Path, Chunk], bool]


def _songs(songs: SongBlocks, _recipe: Recipe, _work: Path, chunk: Chunk) -> bool:
    return render_songs(songs, chunk)


STAGES: dict[str, Stage] = {
    "songs": _songs,
    "codec": train_codec,
    "decoder": train_decoder,
    "latents": encode_songs,
    "codes": train_codes,
    "song_codes": write_song_codes,
    "song_writer": train_song_writer,
    "teacher": train_teacher,
    "turbo": train_turbo,
    "export": export,
}
"""The stages in order. Each one needs those before it."""


def run_stages(names: Sequence[str], recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Work on stages in the order of `names` until the chunk is over. Return whether all are done."""
    songs = SongBlocks(work / "songs", recipe)
    return all(STAGES[name](songs, recipe, work, chunk) for name in names)


def run(stage: str, recipe: Recipe, work: Path, minutes: float) -> bool:
    """Work on one stage, or on all in order, for at most `minutes`. Return whether it is done."""
    return run_stages(list(STAGES) if stage == "all" else [stage], recipe, work, Chunk(minutes))


def prepare_torch() -> None:
    """Set the precision, the limits of compiling and the use of memory of this process."""
    torch.set_float32_matmul_precision("high")
    # Layers are compiled for each duration, and the teacher's both with and without sliding windows.
    torch._dynamo.config.recompile_limit = 64
    keep_freed_memory()


def main() -> int:
    """Run the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("stage", choices=["all", *STAGES])
    options.add_argument("--work", type=Path, default=Path(".cache/training"))
    options.add_argument("--minutes", type=float, default=8.0)
    options.add_argument(
        "--quick", action="store_true", help="a few steps of tiny models, to see that it runs"
    )
    options.add_argument(
        "--effort",
        type=float,
        default=1.0,
        help="times the recipe's steps; the same for all chunks of a stage",
    )
    chosen = options.parse_args()
    prepare_torch()
    recipe = (QUICK if chosen.quick else FULL).with_effort(chosen.effort)
    done = run(chosen.stage, recipe, chosen.work, chosen.minutes)
    print(f"{chosen.stage}: {'done' if done else 'to be continued'}")
    return 0 if done else UNFINISHED


if __name__ == "__main__":
    raise SystemExit(main())
