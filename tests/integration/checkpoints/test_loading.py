"""Both layouts of the golden checkpoints, whole, sharded and damaged."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.settings import ModelSettings
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.key_map import Component
from deployments.checkpoints.loading import DiTModules, load_dit
from deployments.checkpoints.location import checkpoint_folder

CHECKPOINTS = Path(__file__).parents[2] / "data" / "dit" / "ckpt"


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return Path(
        shutil.copytree(CHECKPOINTS / "original" / "acestep-v15-turbo", tmp_path / "acestep-v15-turbo")
    )


def assert_same_weights(left: DiTModules, right: DiTModules) -> None:
    for component in Component:
        ours, theirs = getattr(left, component).state_dict(), getattr(right, component).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("variant", ["turbo", "base", "xl-turbo"])
def test_both_layouts_give_the_same_modules(variant: str) -> None:
    original = load_dit(CHECKPOINTS / "original" / f"acestep-v15-{variant}", "cpu", torch.float32)
    diffusers = load_dit(CHECKPOINTS / "diffusers" / variant, "cpu", torch.float32)
    assert original.variant is diffusers.variant
    assert_same_weights(original, diffusers)


def test_shards_are_read_together(original: Path) -> None:
    whole = load_dit(original, "cpu", torch.float32)
    state = load_file(original / "model.safetensors")
    (original / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weight_map = {key: names[i % 2] for i, key in enumerate(sorted(state))}
    for name in names:
        save_file({key: state[key] for key in state if weight_map[key] == name}, original / name)
    index = {"metadata": {}, "weight_map": weight_map}
    (original / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same_weights(load_dit(original, "cpu", torch.float32), whole)
    (original / names[1]).unlink()
    with pytest.raises(CheckpointError, match=names[1]):
        load_dit(original, "cpu", torch.float32)


def test_weights_arrive_in_the_dtype_of_the_settings() -> None:
    modules = load_dit(CHECKPOINTS / "original" / "acestep-v15-turbo", "cpu", torch.bfloat16)
    for component in Component:
        assert {parameter.dtype for parameter in getattr(modules, component).parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "silence_latent.pt"])
def test_a_missing_file_is_named(original: Path, file: str) -> None:
    (original / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        load_dit(original, "cpu", torch.float32)


def test_a_cut_file_is_named(original: Path) -> None:
    weights = original / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_dit(original, "cpu", torch.float32)


@pytest.mark.parametrize("change", [{"hidden_size": 64}, {"num_hidden_layers": 3}])
def test_weights_that_do_not_fit_their_config_are_refused(original: Path, change: dict[str, int]) -> None:
    config = json.loads((original / "config.json").read_text())
    (original / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match="acestep-v15-turbo"):
        load_dit(original, "cpu", torch.float32)


def test_a_folder_without_the_checkpoint_says_what_it_holds() -> None:
    models = ModelSettings(source="folder", folder=CHECKPOINTS / "original")
    with pytest.raises(CheckpointError, match="acestep-v15-base, acestep-v15-turbo"):
        checkpoint_folder(models, "acestep-v15-sft")


def test_the_hub_is_asked_for_official_names_only(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no official checkpoint"):
        checkpoint_folder(ModelSettings(source="hub", folder=tmp_path), "my-model")
