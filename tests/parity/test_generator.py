"""Every golden scenario of the original model, through both checkpoint layouts and the whole generator.

GOLDEN_DIR names another folder whose `dit/` has the same form. Each scenario in its golden.json is run.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from configs.domain import Task
from configs.settings import GeneratorSettings, ModelSettings
from deployments.common.messages import DenoiseRequest, DiffusionOptions, Metadata, RepaintMode, Window
from deployments.generator.engine import GeneratorEngine, Song, load_engine
from deployments.generator.prompts import caption_prompt, lyric_prompt
from deployments.generator.tasks import RecordingLatents

TOLERANCE = 5e-5
GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[1] / "data")) / "dit"
SCENARIOS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "golden" / "golden.json").read_text())
INPUTS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "inputs" / "inputs.json").read_text())
LAYOUTS = {"original": "original/acestep-v15-{}", "diffusers": "diffusers/{}"}

each_scenario = pytest.mark.parametrize(
    ("variant", "name"), [(variant, name) for variant in SCENARIOS for name in SCENARIOS[variant]]
)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_variant = pytest.mark.parametrize("variant", SCENARIOS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On models this small, threads only hinder each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_there_are_scenarios() -> None:
    assert sum(map(len, SCENARIOS.values())) > 0


@each_layout
@each_scenario
def test_latents_equal_the_original_models(variant: str, name: str, layout: str) -> None:
    engine = engine_of(variant, layout)
    golden = tensors("golden", variant)[name]
    scenario = SCENARIOS[variant][name]
    recordings = recordings_of(variant, scenario)
    songs = [engine.start(request_of(variant, scenario, seed), recordings) for seed in scenario["seeds"]]
    take_noise_like_the_original(songs, scenario)
    latents = torch.stack([run(engine, song) for song in songs])
    assert (latents - golden).abs().max() <= TOLERANCE


@each_variant
def test_texts_are_written_and_tokenised_like_the_original(variant: str) -> None:
    engine = engine_of(variant, "original")
    inputs, states = INPUTS[variant], tensors("inputs", variant)
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
    engine, given = engine_of(variant, layout), tensors("inputs", variant)
    scenario = {"task_type": "cover", "frames": 250, "source": "codes"}
    with torch.inference_mode():
        from_codes = engine.contexts(request_of(variant, scenario, seed=0), None)
        plain = request_of(variant, scenario | {"source": None}, seed=0)
        from_source = engine.contexts(plain, given["src_lat"].numpy())
    channels = given["hints"].shape[-1]
    assert torch.allclose(from_codes.context[:, :channels], given["hints"], atol=1e-5)
    assert torch.allclose(from_source.context[:, :channels], given["src_fsq"], atol=1e-5)


@cache
def engine_of(variant: str, layout: str) -> GeneratorEngine:
    models = ModelSettings(
        source="folder", folder=GOLDEN / "ckpt", text_encoder="original/Qwen3-Embedding-0.6B"
    )
    return load_engine(models, LAYOUTS[layout].format(variant), GeneratorSettings())


@cache
def tensors(kind: str, variant: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / kind / f"{variant}.safetensors")


def run(engine: GeneratorEngine, song: Song) -> torch.Tensor:
    while not song.trajectory.done:
        engine.step([song])
    return torch.from_numpy(engine.finish(song).latents)


def request_of(variant: str, scenario: dict[str, Any], seed: int) -> DenoiseRequest:
    """The request that the scenario's recorded parameters describe."""
    inputs = INPUTS[variant]
    fields = caption_fields(inputs[f"prompt_{scenario['task_type']}"])
    language, lyrics = lyric_fields(inputs["lyric_prompt"])
    conditions: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if scenario["source"] == "codes":
        conditions["codes"] = tuple(inputs["codes"])
    if repaint := scenario.get("repaint"):
        conditions["window"] = Window(*repaint["window_frames"])
        options["repaint_mode"] = RepaintMode(repaint["injection_ratio"], repaint["crossfade_frames"], None)
    if timesteps := scenario.get("timesteps"):
        options["timesteps"] = tuple(timesteps)
    if "cfg_interval" in scenario:
        options["cfg_interval_start"], options["cfg_interval_end"] = scenario["cfg_interval"]
    same_names = (
        "inference_steps",
        "shift",
        "guidance_scale",
        "use_adg",
        "infer_method",
        "audio_cover_strength",
        "cover_noise_strength",
    )
    options |= {name: scenario[name] for name in same_names if name in scenario}
    return DenoiseRequest(
        task=Task(scenario["task_type"]),
        instruction=fields.instruction,
        caption=fields.caption,
        lyrics=lyrics,
        language=language,
        metadata=fields.metadata,
        frames=scenario["frames"],
        seed=seed,
        options=DiffusionOptions(**options),
        **conditions,
    )


def recordings_of(variant: str, scenario: dict[str, Any]) -> RecordingLatents:
    """The recordings that the scenario's recorded parameters name."""
    given = tensors("inputs", variant)
    return RecordingLatents(
        given["src_lat"].numpy() if scenario["source"] == "source_latents" else None,
        given["refer"].numpy() if scenario.get("reference_latents") else None,
    )


def take_noise_like_the_original(songs: list[Song], scenario: dict[str, Any]) -> None:
    """The original drew the noise of stochastic sampling from the global generator, a batch at each step."""
    seed = scenario["renoise_torch_manual_seed"]
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        shape = scenario["expected"]["shape"]
        drawn = [torch.randn(shape, generator=generator) for _ in range(songs[0].trajectory.steps)]
        for item, song in enumerate(songs):
            song.trajectory.draw_noise_from(iter([noise[item] for noise in drawn]).__next__)


@dataclass(frozen=True)
class CaptionFields:
    instruction: str
    caption: str
    metadata: Metadata


def caption_fields(prompt: str) -> CaptionFields:
    pattern = (
        r"# Instruction\n(.*)\n\n# Caption\n(.*)\n\n# Metas\n- bpm: (.*)\n- timesignature: (.*)\n"
        r"- keyscale: (.*)\n- duration: (\d+) seconds\n"
    )
    found = re.match(pattern, prompt, re.DOTALL)
    assert found is not None
    instruction, caption, bpm, time_signature, key_scale, duration = found.groups()
    metadata = Metadata(
        bpm=None if bpm == "N/A" else int(bpm),
        key_scale=None if key_scale == "N/A" else key_scale,
        time_signature=None if time_signature == "N/A" else time_signature,
        duration=float(duration),
    )
    return CaptionFields(instruction, caption, metadata)


def lyric_fields(prompt: str) -> tuple[str, str]:
    found = re.fullmatch(r"# Languages\n(.*?)\n\n# Lyric\n(.*)<\|endoftext\|>", prompt, re.DOTALL)
    assert found is not None
    return found.group(1), found.group(2)
