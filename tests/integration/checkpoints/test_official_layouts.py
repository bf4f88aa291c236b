"""The modules that the server builds from official configs have the layout of the official weight files."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderOobleck
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from deployments.checkpoints.key_map import SILENCE_BUFFER, Component, module_arguments, to_diffusers
from deployments.checkpoints.layouts import (
    Layout,
    language_model_layout,
    original_dit_layout,
    silence_shape,
    text_encoder_layout,
    vae_layout,
)
from deployments.checkpoints.loading import MODULE_CLASSES, diffusers_arguments
from deployments.checkpoints.official_shapes import official_config
from deployments.checkpoints.weights import module_from, read_headers
from tests import official_layouts

GOLDEN = Path(__file__).parents[2] / "data" / "dit" / "ckpt" / "original"
LANGUAGE_MODELS = ["acestep-5Hz-lm-0.6B", "acestep-5Hz-lm-1.7B", "acestep-5Hz-lm-4B"]


def meta_tensors(layout: Layout) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in layout.items()}


def parameters(layout: Mapping[str, tuple[int, ...]]) -> int:
    return sum(map(math.prod, layout.values()))


@pytest.mark.parametrize("name", ["acestep-v15-turbo", "acestep-v15-base", "acestep-v15-xl-turbo"])
def test_our_list_of_names_is_that_of_files_written_by_the_original_model(name: str) -> None:
    config = json.loads((GOLDEN / name / "config.json").read_text())
    headers = read_headers([GOLDEN / name / "model.safetensors"])
    assert official_layouts.dit_layout(config) == {key: header.shape for key, header in headers.items()}


@pytest.mark.parametrize(
    ("name", "theirs", "ours", "tensors", "count"),
    [
        ("acestep-v15-turbo", official_layouts.dit_layout, original_dit_layout, 677, 2_393_872_518),
        ("acestep-v15-xl-turbo", official_layouts.dit_layout, original_dit_layout, 829, 4_987_310_726),
        ("vae", official_layouts.vae_layout, vae_layout, 365, 168_695_426),
        ("Qwen3-Embedding-0.6B", official_layouts.qwen3_layout, text_encoder_layout, 310, 595_776_512),
        ("acestep-5Hz-lm-0.6B", official_layouts.qwen3_layout, language_model_layout, 310, 662_884_352),
        ("acestep-5Hz-lm-1.7B", official_layouts.qwen3_layout, language_model_layout, 310, 1_854_243_840),
        ("acestep-5Hz-lm-4B", official_layouts.qwen3_layout, language_model_layout, 398, 4_189_554_176),
    ],
)
def test_modules_have_exactly_the_official_tensors(
    name: str,
    theirs: Callable[[Mapping[str, Any]], Layout],
    ours: Callable[[Mapping[str, Any]], Layout],
    tensors: int,
    count: int,
) -> None:
    layout = ours(official_config(name))
    assert layout == theirs(official_config(name))
    assert (len(layout), parameters(layout)) == (tensors, count)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("acestep-v15-turbo", {"transformer": (476, 1_575_458_880)}),
        ("acestep-v15-xl-turbo", {"transformer": (628, 4_168_897_088)}),
    ],
)
def test_the_original_names_of_a_dit_load_strictly(name: str, counts: dict[str, tuple[int, int]]) -> None:
    config = official_config(name)
    states: dict[Component, dict[str, torch.Tensor]] = {component: {} for component in Component}
    for key, tensor in meta_tensors(official_layouts.dit_layout(config)).items():
        component, renamed = to_diffusers(key)
        states[component][renamed] = tensor
    silence = silence_shape(config)
    states[Component.CONDITION_ENCODER][SILENCE_BUFFER] = torch.empty(silence, device="meta")
    expected = counts | {
        "condition_encoder": (141, 608_369_664),
        "audio_tokenizer": (32, 105_032_198),
        "audio_token_detokenizer": (28, 105_011_776),
    }
    for component, state in states.items():
        arguments = module_arguments(component, config)
        module = module_from(MODULE_CLASSES[component], arguments, state, Path(name))
        found = [parameter.numel() for parameter in module.parameters()]
        assert (len(found), sum(found)) == expected[component]
    assert silence == (1, 15_000, 64)


def test_the_vae_loads_strictly() -> None:
    config = official_config("vae")
    state = meta_tensors(official_layouts.vae_layout(config))
    vae = module_from(AutoencoderOobleck, diffusers_arguments(config), state, Path("vae"))
    encoder, decoder = (sum(p.numel() for p in part.parameters()) for part in (vae.encoder, vae.decoder))
    assert (round(encoder / 1e6, 1), round(decoder / 1e6, 1)) == (84.3, 84.4)
    assert vae.hop_length == 1_920


def test_the_text_encoder_loads_strictly() -> None:
    config = official_config("Qwen3-Embedding-0.6B")
    state = meta_tensors(official_layouts.qwen3_layout(config))
    module_from(Qwen3Model, {"config": Qwen3Config(**config)}, state, Path("text_encoder"))


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_language_model_loads_strictly_with_its_head_tied(name: str) -> None:
    config = official_config(name)
    layout = official_layouts.qwen3_layout(config)
    state = meta_tensors({f"model.{key}": shape for key, shape in layout.items()})
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    module = module_from(Qwen3ForCausalLM, {"config": Qwen3Config(**config)}, state, Path(name))
    assert module.lm_head.weight.shape == (217_204, config["hidden_size"])
