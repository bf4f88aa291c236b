"""The numbers of the recipe fit each other and the server."""

import math

import pytest

from configs.domain import CODE_COUNT, SAMPLES_PER_LATENT
from deployments.checkpoints.key_map import Component, module_arguments
from training.recipe import FULL, QUICK, Recipe


@pytest.mark.parametrize("recipe", [FULL, QUICK], ids=["full", "quick"])
def test_parts_fit_each_other_and_the_server(recipe: Recipe) -> None:
    assert math.prod(recipe.vae["downsampling_ratios"]) == SAMPLES_PER_LATENT
    assert math.prod(recipe.dit["fsq_input_levels"]) == CODE_COUNT
    assert recipe.vae["decoder_input_channels"] == recipe.dit["audio_acoustic_hidden_dim"]
    assert recipe.text["hidden_size"] == recipe.dit["text_hidden_dim"]
    assert recipe.blocks >= len(recipe.durations)
    for component in Component:
        assert module_arguments(component, recipe.dit)["hidden_size"] == recipe.dit["hidden_size"]


def test_effort_scales_the_steps_of_every_stage() -> None:
    half = FULL.with_effort(0.5)
    assert (half.codec.steps, half.teacher.steps) == (FULL.codec.steps // 2, FULL.teacher.steps // 2)
    assert FULL.with_effort(1.0) == FULL
