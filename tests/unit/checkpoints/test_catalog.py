import json
from pathlib import Path

import pytest

from configs.domain import EARLIER_SAMPLING, NEWEST_SAMPLING, Task
from deployments.checkpoints.catalog import (
    HUB_REPOS,
    OFFICIAL_DITS,
    UNIFIED_REPO,
    Variant,
    dit_checkpoint,
    variant_of,
)


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
