"""A run can begin with the weights of a trained checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.location import EMBEDDED
from training.beginning import begin
from training.export import LANGUAGE_MODEL
from training.files import MODELS
from training.recipe import FULL, QUICK
from training.run import run
from training.song_writer import EMBEDDINGS, trained_song_writer
from training.states import load_state


def weights(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, weights_only=True))


pytestmark = pytest.mark.slow


@pytest.fixture
def begun(work: Path, tmp_path: Path) -> Path:
    begin(work / MODELS, QUICK, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("left", "made"), [("turbo.pt", "turbo.pt"), ("turbo.pt", "teacher.pt"), ("codes.pt",) * 2]
)
def test_what_stages_have_left_is_found_in_the_checkpoint(
    work: Path, begun: Path, left: str, made: str
) -> None:
    expected, found = weights(work / left), weights(begun / made)
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_the_table_of_codes_is_taken_apart_into_its_halves(work: Path, begun: Path) -> None:
    """The halves may differ by a constant, which the table does not show."""
    expected, found = (trained_song_writer(QUICK, folder).official_state() for folder in (work, begun))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=2e-4, msg=name)
    assert expected[EMBEDDINGS].std() > 1e-2


@pytest.mark.parametrize("stage", ["teacher", "song_writer"])
def test_a_stage_goes_on_from_the_checkpoint(work: Path, begun: Path, stage: str) -> None:
    beginning = load_state(begun / stage / "state.safetensors")
    assert beginning.step == 0
    trained = weights(begun / f"{stage}.pt")
    prefix = "weights.miniature." if stage == "teacher" else "weights."
    assert all(
        torch.equal(beginning.tensors[prefix + name].half(), tensor) for name, tensor in trained.items()
    )
    for data in ("songs", "song_codes"):
        (begun / data).symlink_to(work / data)
    for latents in (work / "latents").glob("latents-*"):
        (begun / "latents" / latents.name).symlink_to(latents)
    assert run(stage, QUICK, begun, minutes=10)
    after = load_state(begun / stage / "state.safetensors")
    assert after.step == 3
    moved = [(after.tensors[name] - tensor).abs().max() for name, tensor in beginning.tensors.items()]
    assert 0 < max(moved) < 0.01  # three steps of at most 1e-3, and what decay takes


def test_the_embedded_checkpoint_begins_a_run_of_the_full_recipe(tmp_path: Path) -> None:
    begin(EMBEDDED, FULL, tmp_path)
    made = trained_song_writer(FULL, tmp_path).official_state()[EMBEDDINGS]
    from safetensors import safe_open

    for shard in sorted((EMBEDDED / LANGUAGE_MODEL).glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            if EMBEDDINGS in file.keys():  # noqa: SIM118
                expected = file.get_tensor(EMBEDDINGS).float()
    torch.testing.assert_close(made, expected, rtol=2e-3, atol=2e-3)


def test_a_checkpoint_with_other_words_is_refused(work: Path, tmp_path: Path) -> None:
    other = replace(QUICK, text=QUICK.text | {"vocab_size": 900})
    with pytest.raises(CheckpointError, match="has another vocabulary than the recipe"):
        begin(work / MODELS, other, tmp_path)
