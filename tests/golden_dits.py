"""Scenarios that the original DiTs ran, as requests to the generator.

GOLDEN_DIR names another folder whose `dit` and `dit_newest` have the same form as those in tests/data. One
that it lacks is taken from there.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from configs.domain import SamplingVersion, Task
from configs.settings import GeneratorSettings, ModelSettings
from deployments.checkpoints.adapters.folders import adapter_files
from deployments.checkpoints.adapters.reading import Adapter, read_adapter
from deployments.common.messages import (
    DenoiseRequest,
    DiffusionOptions,
    Metadata,
    Morph,
    RepaintMode,
    Retake,
    Window,
)
from deployments.generator.adapters.mounting import DeviceAdapter, Mount
from deployments.generator.engine import GeneratorEngine, Song, load_engine
from deployments.generator.tasks import RecordingLatents

Scenario = dict[str, Any]
"""The recorded parameters of a scenario."""

TOLERANCE = 5e-5
LAYOUTS = {"original": "original/acestep-v15-{}", "diffusers": "diffusers/{}"}

_OURS = Path(__file__).parent / "data"
_GIVEN = Path(os.environ.get("GOLDEN_DIR", _OURS))
_SAME_NAMES = (
    "inference_steps",
    "shift",
    "guidance_scale",
    "use_adg",
    "infer_method",
    "audio_cover_strength",
    "cover_noise_strength",
    "sampler_mode",
    "velocity_norm_threshold",
    "velocity_ema_factor",
)
"""Parameters with the name that the generator has for them."""
_TASKS = {"cover-nofsq": Task.COVER}


def folder(name: str) -> Path:
    """The folder of goldens called `name`."""
    return _GIVEN / name if (_GIVEN / name).exists() else _OURS / name


CHECKPOINTS = folder("dit") / "ckpt"
INPUTS: dict[str, dict[str, Any]] = json.loads((folder("dit") / "inputs" / "inputs.json").read_text())


ADAPTERS = folder("dit_newest") / "adapters"


def scenarios(name: str) -> dict[str, dict[str, Scenario]]:
    """The scenarios of a folder, by variant and name."""
    found: dict[str, dict[str, Scenario]] = json.loads((folder(name) / "golden" / "golden.json").read_text())
    return found


@cache
def engine_of(variant: str, layout: str = "original") -> GeneratorEngine:
    models = ModelSettings(source="folder", folder=CHECKPOINTS, text_encoder="original/Qwen3-Embedding-0.6B")
    return load_engine(models, LAYOUTS[layout].format(variant), GeneratorSettings())


@cache
def tensors(file: Path) -> dict[str, torch.Tensor]:
    return load_file(file)


def inputs_of(variant: str) -> dict[str, torch.Tensor]:
    return tensors(folder("dit") / "inputs" / f"{variant}.safetensors")


def golden_latents(name: str, variant: str, scenario: str) -> torch.Tensor:
    return tensors(folder(name) / "golden" / f"{variant}.safetensors")[scenario]


def songs_of(
    engine: GeneratorEngine, variant: str, scenario: Scenario, sampling: SamplingVersion
) -> list[Song]:
    """The songs of a scenario, which draw noise where the original did."""
    recordings = recordings_of(variant, scenario)
    songs = [
        engine.start(
            request_of(variant, scenario, item, sampling), recordings, mount_of(engine, scenario, item)
        )
        for item in range(len(scenario["seeds"]))
    ]
    _take_noise_like_the_original(songs, scenario)
    return songs


def mount_of(engine: GeneratorEngine, scenario: Scenario, item: int) -> Mount | None:
    """The adapters of one song of a scenario."""
    asked = scenario.get("adapters")
    if not asked:
        return None
    return engine.mounter.mount([(adapter_on(engine, each["name"]), each["scale"]) for each in asked[item]])


def adapter_on(engine: GeneratorEngine, name: str) -> DeviceAdapter:
    """The golden adapter of that name, on the engine's device."""
    return engine.mounter.on_device(golden_adapter(name))


@cache
def golden_adapter(name: str) -> Adapter:
    """The adapter in the folder of goldens whose file or folder has this name."""
    file = adapter_files([str(ADAPTERS)])[name.removesuffix(".safetensors")]
    return read_adapter(file.content(), file.outline)


def run(engine: GeneratorEngine, songs: Sequence[Song]) -> torch.Tensor:
    """The latents of songs that all go through the same forwards."""
    while running := [song for song in songs if not song.trajectory.done]:
        engine.step(running)
    return torch.stack([torch.from_numpy(engine.finish(song).latents) for song in songs])


def request_of(variant: str, scenario: Scenario, item: int, sampling: SamplingVersion) -> DenoiseRequest:
    """The request that the recorded parameters describe."""
    inputs, task = INPUTS[variant], scenario["task_type"]
    fields = caption_fields(inputs[f"prompt_{_TASKS.get(task, task)}"])
    language, lyrics = lyric_fields(inputs["lyric_prompt"])
    conditions: dict[str, Any] = {}
    if scenario["source"] == "codes":
        conditions["codes"] = tuple(inputs["codes"])
    if repaint := scenario.get("repaint"):
        conditions["window"] = Window(*repaint["window_frames"])
    if edit := scenario.get("flow_edit"):
        conditions["morph"] = morph_of(edit)
    if retake := scenario.get("retake"):
        conditions["retake"] = Retake(retake["seeds"][item], retake["variance"])
    return DenoiseRequest(
        task=Task(_TASKS.get(task, task)),
        instruction=fields.instruction,
        caption=fields.caption,
        lyrics=lyrics,
        language=language,
        metadata=fields.metadata,
        frames=scenario["frames"],
        seed=scenario["seeds"][item],
        options=options_of(scenario, sampling),
        **conditions,
    )


def morph_of(edit: dict[str, Any]) -> Morph:
    words = json.loads((folder("dit_newest") / "inputs" / "flow_edit.json").read_text())
    _, lyrics = lyric_fields(words["source_lyric_prompt"])
    caption = caption_fields(words["source_prompt"]).caption
    return Morph(caption, lyrics, edit["n_min"], edit["n_max"], edit["n_avg"])


def options_of(scenario: Scenario, sampling: SamplingVersion) -> DiffusionOptions:
    options: dict[str, Any] = {name: scenario[name] for name in _SAME_NAMES if name in scenario}
    options["sampling"] = sampling
    options["cover_nofsq"] = scenario["task_type"] == "cover-nofsq"
    if repaint := scenario.get("repaint"):
        options["repaint_mode"] = RepaintMode(repaint["injection_ratio"], repaint["crossfade_frames"], None)
    if timesteps := scenario.get("timesteps"):
        options["timesteps"] = tuple(timesteps)
    if "cfg_interval" in scenario:
        options["cfg_interval_start"], options["cfg_interval_end"] = scenario["cfg_interval"]
    if "dcw" in scenario:
        options["dcw_enabled"] = scenario["dcw"] is not None
        options |= {f"dcw_{name}": value for name, value in (scenario["dcw"] or {}).items()}
    if scenario.get("chunk_mask_mode") == "auto":
        options["chunk_mask_mode"] = "all"  # what the original's `auto` is
    return DiffusionOptions(**options)


def recordings_of(variant: str, scenario: Scenario) -> RecordingLatents:
    """The recordings that the recorded parameters name."""
    given = inputs_of(variant)
    return RecordingLatents(
        given["src_lat"].numpy() if scenario["source"] == "source_latents" else None,
        given["refer"].numpy() if scenario.get("reference_latents") else None,
    )


def _take_noise_like_the_original(songs: Sequence[Song], scenario: Scenario) -> None:
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
