"""Every golden scenario of the original model, through both checkpoint layouts and the whole generator.

GOLDEN_DIR names another folder of scenarios (`tests.golden_dits`). Each one in it is run.
"""

import pytest
import torch

from configs.domain import EARLIER_SAMPLING, Task
from deployments.generator.prompts import caption_prompt, lyric_prompt
from tests.golden_dits import (
    INPUTS,
    LAYOUTS,
    TOLERANCE,
    caption_fields,
    engine_of,
    golden_latents,
    inputs_of,
    lyric_fields,
    request_of,
    run,
    scenarios,
    songs_of,
)

SCENARIOS = scenarios("dit")

each_scenario = pytest.mark.parametrize(
    ("variant", "name"), [(variant, name) for variant in SCENARIOS for name in SCENARIOS[variant]]
)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_variant = pytest.mark.parametrize("variant", SCENARIOS)


def test_there_are_scenarios() -> None:
    assert sum(map(len, SCENARIOS.values())) > 0


@each_layout
@each_scenario
def test_latents_equal_the_original_models(variant: str, name: str, layout: str) -> None:
    engine = engine_of(variant, layout)
    latents = run(engine, songs_of(engine, variant, SCENARIOS[variant][name], EARLIER_SAMPLING))
    assert (latents - golden_latents("dit", variant, name)).abs().max() <= TOLERANCE


@each_variant
def test_texts_are_written_and_tokenised_like_the_original(variant: str) -> None:
    engine = engine_of(variant, "original")
    inputs, states = INPUTS[variant], inputs_of(variant)
    for task in Task:
        fields = caption_fields(inputs[f"prompt_{task}"])
        prompt = caption_prompt(fields.instruction, fields.caption, fields.metadata)
        assert str(prompt) == inputs[f"prompt_{task}"]
        tokens = engine.tokenizer(prompt, 256)
        assert tokens.ids == tuple(inputs[f"ids_{task}"])
        with torch.inference_mode():
            assert torch.allclose(engine.text_encoder.states(tokens.ids), states[f"text_{task}"], atol=1e-5)
    language, lyrics = lyric_fields(inputs["lyric_prompt"])
    prompt = lyric_prompt(lyrics, language)
    assert str(prompt) == inputs["lyric_prompt"]
    assert engine.tokenizer(prompt, 2048).ids == tuple(inputs["lyric_ids"])


@each_layout
@each_variant
def test_codes_and_covers_reach_the_dit_like_the_original(variant: str, layout: str) -> None:
    engine, given = engine_of(variant, layout), inputs_of(variant)
    scenario = {"task_type": "cover", "frames": 250, "seeds": [0], "source": "codes"}
    with torch.inference_mode():
        from_codes = engine.contexts(request_of(variant, scenario, 0, EARLIER_SAMPLING), None)
        plain = request_of(variant, scenario | {"source": None}, 0, EARLIER_SAMPLING)
        from_source = engine.contexts(plain, given["src_lat"].numpy())
    channels = given["hints"].shape[-1]
    assert torch.allclose(from_codes.context[:, :channels], given["hints"], atol=1e-5)
    assert torch.allclose(from_source.context[:, :channels], given["src_fsq"], atol=1e-5)
