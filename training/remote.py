"""Trains a stage on a borrowed machine, for minutes at a time and without a network.

    python -m training.remote pack teacher --work .cache/training --to .borrowed    # here
    python -m training.remote train --parcel ../parcel --work /tmp/work --out OUT   # there, in .borrowed/code
    python -m training.remote unpack OUT --work .cache/training                     # here, then pack again

`pack` copies the code and the results of earlier stages that the stage needs. Songs and latents are made on
the other machine. After every save `train` puts the state of the stage into OUT, in pieces of 15 MB, and at
the end of the stage its weights too. Exit status 3 means that the stage needs another chunk. `docs/gpu.md`
describes the whole procedure.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deployments.checkpoints.catalog import VAE
from training.chunk import Chunk
from training.codec import CHECKPOINT as CODEC
from training.codes import WEIGHTS as CODES
from training.files import MODELS
from training.latents import SILENCE
from training.loop import STATE
from training.parcels import ParcelError, about_parcel, open_parcel, write_parcel
from training.recipe import FULL, QUICK, Recipe
from training.run import UNFINISHED, prepare_torch, run_stages
from training.song_codes import FOLDER as SONG_CODES
from training.song_writer import WEIGHTS as SONG_WRITER
from training.states import load_state, step_of
from training.teacher import WEIGHTS as TEACHER
from training.turbo import WEIGHTS as TURBO

MOST_BYTES = 64 << 20
"""Limit for everything that travels in one direction."""
_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("benchmarks", "configs", "deployments", "training")
_LEFT_OUT = ("__pycache__", "embedded", "*.png", "*.md")


@dataclass(frozen=True)
class Travel:
    """How a stage travels. Files and folders are relative to the run's folder."""

    needs: tuple[str, ...]
    """Results of earlier stages that it needs."""
    made_there: tuple[str, ...]
    """Stages that are repeated on the other machine, because their results are too large to travel."""
    leaves: tuple[str, ...]
    """Results of the stage."""


TRAVELS = {
    "codec": Travel((), ("songs",), (CODEC,)),
    "decoder": Travel((CODEC,), ("songs",), (f"{MODELS}/{VAE}",)),
    "codes": Travel((CODEC,), ("songs", "latents"), (CODES,)),
    "song_codes": Travel((CODEC, CODES), ("songs", "latents"), (SONG_CODES,)),
    "song_writer": Travel((SONG_CODES,), (), (SONG_WRITER,)),
    "teacher": Travel((CODEC, CODES), ("songs", "latents"), (TEACHER, SILENCE)),
    "turbo": Travel((CODEC, CODES, TEACHER), ("songs", "latents"), (TURBO, SILENCE)),
}


@dataclass(frozen=True)
class Course:
    """A stage and its recipe, which are the same on all machines."""

    stage: str
    quick: bool
    effort: float
    blocks: int | None
    """Number of blocks of songs to learn from, or None for all. Each machine has to make them."""
    compiled: bool = False
    """Whether layers are compiled, which takes minutes on each machine."""

    @property
    def recipe(self) -> Recipe:
        recipe = (QUICK if self.quick else FULL).with_effort(self.effort)
        blocks = recipe.blocks if self.blocks is None else self.blocks
        return replace(recipe, blocks=blocks, compiled=self.compiled)

    @property
    def state(self) -> str:
        """Return the file of the stage's state, relative to the run's folder."""
        return f"{self.stage}/{STATE}"


def copy_code(folder: Path) -> None:
    """Copy the code for training and for `benchmarks.gpu_check` into `folder`, without checkpoints."""
    shutil.rmtree(folder / "code", ignore_errors=True)
    ignored = shutil.ignore_patterns(*_LEFT_OUT)
    for package in _PACKAGES:
        shutil.copytree(_ROOT / package, folder / "code" / package, ignore=ignored)


def pack(course: Course, work: Path, folder: Path) -> None:
    """Put everything that has to travel into `folder`, beside other files that are already there.

    Raises ParcelError if a result of an earlier stage is missing, if there are fewer blocks than durations of
    songs, or if everything together is too large.
    """
    if course.recipe.blocks < len(course.recipe.durations):
        raise ParcelError(f"{len(course.recipe.durations)} blocks are needed, one for each duration of songs")
    travel = TRAVELS[course.stage]
    missing = [name for name in travel.needs if not (work / name).exists()]
    if missing:
        raise ParcelError(f"{course.stage} needs {', '.join(missing)} in {work}, from the stages before it")
    copy_code(folder)
    shutil.rmtree(folder / "parcel", ignore_errors=True)
    contents = {name: work / name for name in travel.needs}
    state = work / course.state
    with TemporaryDirectory() as aside:
        if state.exists():
            contents[course.state] = Path(aside) / STATE
            load_state(state).rounded().save(contents[course.state])
        write_parcel(contents, _about(course, step_of(state), done=False), folder / "parcel")
    taken = _bytes_of(folder)
    print(f"{folder}: {taken / 2**20:.1f} MiB, {course.stage} after {step_of(state)} steps")
    if taken > MOST_BYTES:
        raise ParcelError(f"that is more than the {MOST_BYTES >> 20} MiB that can travel")


def train(parcel: Path, work: Path, out: Path, minutes: float) -> bool:
    """Train the stage in `parcel` for `minutes` and keep its state in `out`. Return whether it is done.

    If `work` is further than the parcel, from an earlier chunk on the same machine, training continues from
    there. Raises ParcelError.
    """

    def carry(state: Path) -> None:
        write_parcel({course.state: state}, _about(course, step_of(state), done=False), out)

    chunk = Chunk(minutes, carry)
    about = about_parcel(parcel)
    course = Course(**about["course"])
    travel = TRAVELS[course.stage]
    if not (work / course.state).exists() or step_of(work / course.state) < about["step"]:
        open_parcel(parcel, work)
    if not run_stages([*travel.made_there, course.stage], course.recipe, work, chunk):
        return False
    left = [name for name in (*travel.leaves, course.state) if (work / name).exists()]
    step = step_of(work / course.state)
    write_parcel({name: work / name for name in left}, _about(course, step, done=True), out)
    return True


def unpack(parcel: Path, work: Path) -> None:
    """Put what `train` left in `parcel` into `work`. Raises ParcelError if `work` is further already."""
    about = about_parcel(parcel)
    course = Course(**about["course"])
    here = step_of(work / course.state)
    if here > about["step"]:
        raise ParcelError(f"{work} is at step {here} of {course.stage} already, {parcel} at {about['step']}")
    open_parcel(parcel, work)
    print(f"{course.stage}: {'done' if about['done'] else 'to be continued'} after {about['step']} steps")


def _about(course: Course, step: int, *, done: bool) -> dict[str, Any]:
    return {"course": asdict(course), "step": step, "done": done}


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(
        prog="python -m training.remote",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = options.add_subparsers(dest="command", required=True)
    copying = commands.add_parser("code", help="make a folder with the code alone, for benchmarks.gpu_check")
    copying.add_argument("--to", type=Path, required=True)
    packing = commands.add_parser("pack", help="make the folder that travels")
    packing.add_argument("stage", choices=TRAVELS)
    packing.add_argument("--to", type=Path, required=True)
    packing.add_argument("--quick", action="store_true", help="tiny models and a few steps")
    packing.add_argument("--effort", type=float, default=1.0, help="times the recipe's steps")
    packing.add_argument("--blocks", type=int, help="blocks of 16 songs to learn from, instead of all")
    packing.add_argument("--compiled", action="store_true", help="compile layers: minutes on each machine")
    training = commands.add_parser("train", help="work on the stage for some minutes")
    training.add_argument("--parcel", type=Path, required=True)
    training.add_argument("--out", type=Path, required=True, help="folder for what goes back")
    training.add_argument("--minutes", type=float, default=6.0)
    unpacking = commands.add_parser("unpack", help="take back what came from there")
    unpacking.add_argument("parcel", type=Path)
    for command in (packing, training, unpacking):
        command.add_argument("--work", type=Path, default=Path(".cache/training"))
    return options.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    chosen = _arguments(arguments)
    try:
        if chosen.command == "code":
            copy_code(chosen.to)
        elif chosen.command == "pack":
            course = Course(chosen.stage, chosen.quick, chosen.effort, chosen.blocks, chosen.compiled)
            pack(course, chosen.work, chosen.to)
        elif chosen.command == "unpack":
            unpack(chosen.parcel, chosen.work)
        else:
            prepare_torch()
            done = train(chosen.parcel, chosen.work, chosen.out, chosen.minutes)
            print("done" if done else "to be continued")
            return 0 if done else UNFINISHED
    except ParcelError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
