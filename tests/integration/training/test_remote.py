"""Training on a borrowed machine: what travels, that chunks resume exactly, what is refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.missing_packages import without_packages
from training.chunk import Chunk
from training.codec import new_vae
from training.loop import STATE, Training
from training.miniature import Miniature
from training.parcels import ParcelError, about_parcel, open_parcel
from training.recipe import FULL, Learning
from training.remote import MOST_BYTES, TRAVELS, Course, pack, train, unpack
from training.run import STAGES
from training.states import load_state, step_of
from training.transcripts import Transcriber

NOT_THERE = ("av", "fastapi", "librosa", "pydantic", "ray", "soundfile", "soxr", "vllm", "xgrammar")
"""Packages that a machine with PyTorch and transformers may lack."""
TEACHER = Course("teacher", quick=True, effort=4.0, blocks=1)
"""Twelve steps; every second one is saved."""
WHEELS = 7 << 20
"""At least the bytes of the packages that such a machine lacks (docs/gpu.md)."""


def losses_in(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("teacher ")]


def train_and_die(packed: Path, folder: Path, step: int) -> list[str]:
    """Train where nothing else is, and die when the losses of a step are told; what was told until then."""
    said = []
    command = [sys.executable, "-m", "training.remote", "train", "--parcel", "../parcel"]
    packages = without_packages(folder / "packages", NOT_THERE)
    with subprocess.Popen(
        [*command, "--work", str(folder / "work"), "--out", str(folder / "out"), "--minutes", "10"],
        cwd=packed / "code",
        # As many threads as here: sums depend on them.
        env=os.environ | {"PYTHONPATH": str(packages), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith(f"teacher {step} "):
                process.kill()
    return losses_in("".join(said))


@pytest.fixture
def precision_of_training() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def home(work: Path, tmp_path: Path) -> Path:
    """A run's folder in which the stages before the teacher are done."""
    home = tmp_path / "home"
    (home / "codec").mkdir(parents=True)
    (home / "codec" / "vae").symlink_to(work / "codec" / "vae")
    (home / "codes.pt").symlink_to(work / "codes.pt")
    return home


@pytest.mark.slow
@pytest.mark.usefixtures("precision_of_training")
def test_a_run_on_machines_that_end_without_notice_equals_one_in_one_go(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed, again = tmp_path / "packed", tmp_path / "again"
    whole, killed, last = (tmp_path / machine for machine in ("whole", "killed", "last"))
    pack(TEACHER, home, packed)
    said = train_and_die(packed, killed, step=5)
    unpack(killed / "out", home)
    done = step_of(home / TEACHER.state)
    assert done in (4, 6)  # the kill comes a moment after the line
    pack(TEACHER, home, again)
    capsys.readouterr()

    assert train(again / "parcel", last / "work", last / "out", minutes=10)
    said = [*said[:done], *losses_in(capsys.readouterr().out)]
    assert train(packed / "parcel", whole / "work", whole / "out", minutes=10)
    assert said == losses_in(capsys.readouterr().out)
    assert len(said) == TEACHER.recipe.teacher.steps
    for machine in (whole, last):
        open_parcel(machine / "out", machine / "opened")
    one, other = (torch.load(machine / "opened" / "teacher.pt") for machine in (whole, last))
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    unpack(last / "out", home)
    assert step_of(home / TEACHER.state) == len(said)


def test_every_stage_that_learns_can_travel() -> None:
    assert set(STAGES) - set(TRAVELS) == {"songs", "latents", "export"}
    assert all(stage in STAGES for travel in TRAVELS.values() for stage in travel.made_there)


def pupil() -> nn.Module:
    miniature = Miniature(FULL, torch.zeros(FULL.dit["audio_acoustic_hidden_dim"]))
    return nn.ModuleDict(
        {"miniature": miniature, "transcriber": Transcriber(FULL.dit["hidden_size"], FULL.dit["patch_size"])}
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["codec", "teacher"])
def test_the_largest_states_of_the_full_recipe_travel_both_ways(stage: str, tmp_path: Path) -> None:
    """There with code, wheels and the codec; back with the weights that the stage leaves."""
    module = new_vae(FULL.vae) if stage == "codec" else pupil()
    training = Training(tmp_path / stage, module, Learning(steps=1, batch=1, rate=1e-3), seed=0)

    def loss_of(module: nn.Module, _batch: object, _generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"loss": torch.stack([parameter.sum() for parameter in module.parameters()]).sum()}

    assert training.run(lambda _generator: (), loss_of, Chunk(5, carry=lambda _state: None))
    (tmp_path / "codec" / "vae").mkdir(parents=True, exist_ok=True)
    (tmp_path / "codec" / "vae" / "weights").write_bytes(bytes(13_100_000))
    (tmp_path / "codes.pt").write_bytes(bytes(1_900_000))
    (tmp_path / "packed" / "wheels").mkdir(parents=True)
    (tmp_path / "packed" / "wheels" / "packages.whl").write_bytes(bytes(WHEELS))
    pack(Course(stage, quick=False, effort=1.0, blocks=None), tmp_path, tmp_path / "packed")
    learned = sum(parameter.numel() for parameter in module.parameters())
    state = (tmp_path / stage / STATE).stat().st_size
    assert 8 * learned < state < 8.1 * learned
    assert state + 2 * learned < MOST_BYTES
    assert (state + 2 * learned) / 15e6 < 7  # with parcel.json at most eight files


def test_too_much_is_not_packed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    with (tmp_path / "packed" / "large.whl").open("wb") as file:
        file.truncate(MOST_BYTES)
    with pytest.raises(ParcelError, match="more than the 64 MiB"):
        pack(TEACHER, home, tmp_path / "packed")


def test_a_stage_is_packed_when_those_before_it_are_done(tmp_path: Path) -> None:
    with pytest.raises(ParcelError, match=r"teacher needs codec/vae, codes\.pt in"):
        pack(TEACHER, tmp_path, tmp_path / "packed")


def test_every_duration_needs_a_block(home: Path, tmp_path: Path) -> None:
    few = Course("teacher", quick=False, effort=1.0, blocks=len(FULL.durations) - 1)
    with pytest.raises(ParcelError, match="6 blocks are needed, one for each duration"):
        pack(few, home, tmp_path / "packed")


def test_an_older_state_does_not_replace_a_newer_one(work: Path, home: Path, tmp_path: Path) -> None:
    pack(TEACHER, home, tmp_path / "packed")
    (home / "teacher").symlink_to(work / "teacher")
    with pytest.raises(ParcelError, match="is at step 3 of teacher already"):
        unpack(tmp_path / "packed" / "parcel", home)


def test_packing_rounds_what_travels_and_leaves_the_run_exact(work: Path, home: Path, tmp_path: Path) -> None:
    (home / "teacher").symlink_to(work / "teacher")
    before = (work / TEACHER.state).read_bytes()
    pack(TEACHER, home, tmp_path / "packed")
    assert (work / TEACHER.state).read_bytes() == before
    assert about_parcel(tmp_path / "packed" / "parcel")["step"] == 3
    open_parcel(tmp_path / "packed" / "parcel", tmp_path / "there")
    here, there = (load_state(place / TEACHER.state) for place in (home, tmp_path / "there"))
    assert 2 * there.bytes < 1.01 * here.bytes
    rounded = here.rounded().tensors
    assert all(torch.equal(rounded[name], tensor) for name, tensor in there.tensors.items())
