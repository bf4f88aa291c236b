import json
from pathlib import Path

import pytest

from configs.domain import EARLIER_SAMPLING, NEWEST_SAMPLING, Task
from configs.settings import ModelSettings
from deployments.checkpoints.catalog import (
    ALIGNMENT_HEADS,
    HUB_REPOS,
    OFFICIAL_DITS,
    UNIFIED_REPO,
    Variant,
    alignment_heads,
    dit_checkpoint,
    variant_of,
)
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.location import follows_lyrics


@pytest.mark.parametrize(
    ("name", "variant", "steps", "shift", "repo"),
    [
        ("acestep-v15-turbo", Variant.TURBO, 8, 3.0, UNIFIED_REPO),
        ("acestep-v15-turbo-shift1", Variant.TURBO, 8, 1.0, "ACE-Step/acestep-v15-turbo-shift1"),
        ("acestep-v15-xl-base", Variant.BASE, 50, 1.0, "ACE-Step/acestep-v15-xl-base"),
        ("acestep-v15-sft", Variant.SFT, 50, 1.0, "ACE-Step/acestep-v15-sft"),
    ],
)
def test_official_checkpoints(name: str, variant: Variant, steps: int, shift: float, repo: str) -> None:
    checkpoint = OFFICIAL_DITS[name]
    assert (checkpoint.variant, checkpoint.default_steps, checkpoint.default_shift) == (variant, steps, shift)
    assert HUB_REPOS[name] == repo


@pytest.mark.parametrize(
    ("name", "asked", "shift"),
    [
        ("acestep-v15-turbo", None, 3.0),
        ("acestep-v15-turbo-shift1", None, 1.0),
        ("acestep-v15-turbo", 1.4, 1.0),
        ("acestep-v15-turbo", 2.6, 3.0),
        ("acestep-v15-turbo", 5.0, 3.0),
        ("acestep-v15-base", None, 1.0),
        ("acestep-v15-base", 2.6, 2.6),
    ],
)
def test_in_2026_01_turbo_models_snap_the_shift_to_what_they_learned(
    name: str, asked: float | None, shift: float
) -> None:
    checkpoint = OFFICIAL_DITS[name]
    assert checkpoint.shift(asked, EARLIER_SAMPLING) == shift
    assert checkpoint.shift(asked, NEWEST_SAMPLING) == (checkpoint.default_shift if asked is None else asked)


def test_only_base_models_took_no_timesteps() -> None:
    for checkpoint in OFFICIAL_DITS.values():
        assert checkpoint.takes_timesteps(EARLIER_SAMPLING) == (checkpoint.variant is not Variant.BASE)
        assert checkpoint.takes_timesteps(NEWEST_SAMPLING)


def test_the_steps_of_turbo_models_are_corrected_unless_version_or_request_say_no() -> None:
    for checkpoint in OFFICIAL_DITS.values():
        is_turbo = checkpoint.variant is Variant.TURBO
        assert checkpoint.corrects(None, NEWEST_SAMPLING) == is_turbo
        assert not checkpoint.corrects(None, EARLIER_SAMPLING)
        for sampling in (EARLIER_SAMPLING, NEWEST_SAMPLING):
            assert checkpoint.corrects(True, sampling)
            assert not checkpoint.corrects(False, sampling)


def test_only_base_models_do_every_task() -> None:
    everywhere = {Task.TEXT2MUSIC, Task.COVER, Task.REPAINT}
    for checkpoint in OFFICIAL_DITS.values():
        assert set(checkpoint.tasks) == (set(Task) if checkpoint.variant is Variant.BASE else everywhere)


@pytest.mark.parametrize(
    ("config", "variant"),
    [
        ({"is_turbo": True, "model_version": "turbo"}, Variant.TURBO),
        ({"is_turbo": False, "model_version": "base"}, Variant.BASE),
        ({"is_turbo": False, "model_version": "sft"}, Variant.SFT),
        ({"model_version": None}, Variant.BASE),
    ],
)
def test_a_config_states_its_variant(config: dict[str, object], variant: Variant) -> None:
    assert variant_of(config) is variant


@pytest.mark.parametrize("config_path", ["mine/config.json", "mine/transformer/config.json"])
def test_an_own_checkpoint_says_in_its_config_what_it_is(tmp_path: Path, config_path: str) -> None:
    (tmp_path / config_path).parent.mkdir(parents=True)
    (tmp_path / config_path).write_text(json.dumps({"is_turbo": False, "model_version": "base"}))
    assert dit_checkpoint("mine", tmp_path).variant is Variant.BASE


def test_an_own_checkpoint_elsewhere_counts_as_turbo(tmp_path: Path) -> None:
    assert dit_checkpoint("mine", tmp_path).tasks == OFFICIAL_DITS["acestep-v15-turbo"].tasks


SIZE_OF_2B = {"num_hidden_layers": 24, "num_attention_heads": 16}
SIZE_OF_XL = {"num_hidden_layers": 32, "num_attention_heads": 32}


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        (SIZE_OF_2B, ((2, 6), (3, 10), (3, 11), (4, 3), (5, 8), (5, 9), (6, 8))),
        (SIZE_OF_2B | {ALIGNMENT_HEADS: {"1": [2]}}, ((1, 2),)),
        (SIZE_OF_2B | {ALIGNMENT_HEADS: {}}, ()),
        (SIZE_OF_XL, ()),
        (SIZE_OF_XL | {ALIGNMENT_HEADS: {"10": [31], "3": [27, 18]}}, ((3, 18), (3, 27), (10, 31))),
        (SIZE_OF_XL | {ALIGNMENT_HEADS: {"3": [32, 1], "32": [0], "-1": [0]}}, ((3, 1),)),
        ({}, ()),
    ],
)
def test_the_heads_that_follow_lyrics_are_those_of_the_config_or_of_the_2b_model(
    config: dict[str, object], heads: tuple[tuple[int, int], ...]
) -> None:
    assert alignment_heads(config) == heads


@pytest.mark.parametrize("listed", [[2, 3], {"two": [6]}, {"2": 6}, {"2": [None]}])
def test_heads_that_are_no_lists_by_layer_are_an_error(listed: object) -> None:
    with pytest.raises(CheckpointError, match="lists of heads by layer"):
        alignment_heads(SIZE_OF_2B | {ALIGNMENT_HEADS: listed})


def test_official_models_that_are_not_here_follow_lyrics_if_they_have_the_2b_size(tmp_path: Path) -> None:
    models = ModelSettings(source="hub", folder=tmp_path)
    able = {name for name in OFFICIAL_DITS if follows_lyrics(models, name)}
    assert able == {name for name in OFFICIAL_DITS if "-xl-" not in name}


def test_the_embedded_model_does_not_follow_lyrics(tmp_path: Path) -> None:
    assert not follows_lyrics(ModelSettings(source="embedded", folder=tmp_path), "acestep-v15-turbo")


def test_an_own_checkpoint_says_in_its_config_whether_it_follows_lyrics(tmp_path: Path) -> None:
    models = ModelSettings(source="folder", folder=tmp_path)
    assert not follows_lyrics(models, "mine")
    (tmp_path / "mine").mkdir()
    config = {"num_hidden_layers": 4, "num_attention_heads": 4, ALIGNMENT_HEADS: {"1": [0]}}
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config))
    assert follows_lyrics(models, "mine")
