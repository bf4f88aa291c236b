"""The computed memory agrees with the models themselves, and the presets fit their devices."""

import copy
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from configs.settings import PROJECT_ROOT, CodecSettings, ModelSettings, Settings
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.checkpoints.loading import MODULE_CLASSES
from deployments.checkpoints.location import EMBEDDED as EMBEDDED_CHECKPOINTS
from deployments.checkpoints.memory_needs import (
    CodecShape,
    codec_need,
    generator_need,
    language_model_need,
    largest_activation,
    step_bytes,
)
from deployments.checkpoints.official_shapes import official_config
from deployments.checkpoints.shapes import codec_shape, generator_shape, language_model_shape
from deployments.checkpoints.weights import module_without_weights, read_headers
from deployments.codec import folding
from deployments.codec.engine import VaeEngine
from deployments.generator.forward import PackedTransformer
from deployments.generator.trajectory import Condition, Row
from deployments.tiny_checkpoints.music_models import random_vae
from serve_app.admin import main
from serve_app.admin.memory import GIB
from tests.latents import random_latents
from tests.peak_memory import PeakMemory
from tests.presets import CPU, EMBEDDED, PRESETS

A10G, L40S, H100 = 22.2, 44.5, 79.0
"""GiB that cards of 24, 48 and 80 GB report."""
GPU_MEMORY = (PROJECT_ROOT / "docs" / "gpu_memory.md").read_text()
CARDS = {"single_gpu_24gb": A10G, "single_gpu_80gb": H100, "multi_gpu_node": H100, "cluster": H100}
OFFICIAL = ModelSettings(source="folder", folder=Path("nowhere"))


@pytest.mark.parametrize(
    ("name", "parameters", "kilobytes"),
    [
        ("acestep-5Hz-lm-0.6B", 0.66e9, 112),
        ("acestep-5Hz-lm-1.7B", 1.85e9, 112),
        ("acestep-5Hz-lm-4B", 4.19e9, 144),
    ],
)
def test_a_language_models_weights_and_cache_are_those_of_the_documentation(
    name: str, parameters: float, kilobytes: int
) -> None:
    shape = language_model_shape(OFFICIAL, name)
    assert shape.parameters == pytest.approx(parameters, rel=0.01)
    assert shape.cache_bytes("bfloat16") == kilobytes * 1024
    assert shape.cache_bytes("float32") == 2 * kilobytes * 1024


def test_parameters_are_those_in_the_weight_files() -> None:
    models = ModelSettings()

    def in_files(*names: str) -> int:
        files = [file for name in names for file in (EMBEDDED_CHECKPOINTS / name).glob("*.safetensors")]
        return sum(header.size for header in read_headers(files).values())

    (language_model,) = models.language_models
    assert language_model_shape(models, language_model).parameters == in_files(language_model)
    assert generator_shape(models, models.dits[0]).parameters == in_files(models.dits[0], models.text_encoder)
    assert codec_shape(models).parameters == in_files(models.vae)


@cache
def step_peak(name: str, levels: int) -> float:
    """Return the peak bytes a token in a forward of nine songs of 60 s, at `levels` different steps."""
    arguments = module_arguments(Component.TRANSFORMER, official_config(name))
    model: Any = module_without_weights(MODULE_CLASSES[Component.TRANSFORMER], arguments)
    transformer = PackedTransformer(model.to(torch.bfloat16).eval().requires_grad_(False))
    # Kernels on a GPU hold no table of all queries and keys, unlike the code for `meta`.
    transformer._attention = lambda query, *_: query.new_empty(
        query.shape[0], query.shape[1] * query.shape[2]
    )
    frames, width = 1500, model.condition_embedder.in_features
    with torch.inference_mode():
        rows = [
            Row(
                torch.empty(frames, 64, device="meta"),
                0.5 + 0.01 * (number % levels),
                Condition(
                    torch.empty(1, width, device="meta", dtype=torch.bfloat16),
                    torch.empty(frames, 128, device="meta", dtype=torch.bfloat16),
                ),
            )
            for number in range(9)
        ]
        with PeakMemory() as memory:
            transformer.velocities(rows)
    return memory.peak / sum(map(transformer.tokens, rows))


@pytest.mark.parametrize("name", ["acestep-v15-turbo", "acestep-v15-xl-turbo"])
def test_a_step_takes_no_more_than_computed(name: str) -> None:
    computed = step_bytes(generator_shape(OFFICIAL, name), "bfloat16")
    assert step_peak(name, levels=1) < step_peak(name, levels=9) <= 1.01 * computed
    assert computed <= 2 * step_peak(name, levels=9)


@pytest.mark.parametrize("encodes", [False, True], ids=["decoding", "encoding"])
def test_a_tile_takes_no_more_than_computed(encodes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The VAE has an eighth of the channels and runs whole, as on a GPU."""
    monkeypatch.setattr(folding, "PIECE_VALUES", 0)
    config = official_config("vae") | {"decoder_channels": 16, "encoder_hidden_size": 16}
    config |= {"decoder_input_channels": 8}
    engine = VaeEngine(random_vae(config), tile_frames=64)
    tiled = (
        engine.encoding(np.ones((2, 64 * 1920), np.float32))
        if encodes
        else engine.decoding(random_latents(64))
    )
    with PeakMemory() as memory:
        engine.run([(tiled, tiled.tiles[0])])
    settings = CodecSettings(tile_frames=64)
    shape = CodecShape(parameters=0, channels=16)
    computed = codec_need(shape, settings, "float32").parts["tiles"]
    assert computed == 5.5 * 4 * largest_activation(shape, settings)
    assert 0.7 * computed <= memory.peak <= 1.1 * computed


def memory(config: Path, *options: str) -> int:
    return main(["memory", str(config), *options])


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_fits_the_card_that_it_is_for(preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert memory(preset, "--gpu", str(CARDS[preset.stem])) == 0, capsys.readouterr().out
    shown = capsys.readouterr().out
    assert "KV cache" in shown
    assert "tiles" in shown
    (row,) = re.findall(rf"^\| `{preset.stem}`: (.*) \|$", GPU_MEMORY, re.MULTILINE)
    documented = re.findall(r"[\d.]+", row.partition(" | ")[2].partition(", of")[0])
    assert documented
    assert [size for size in documented if f" {size} GB" not in shown] == []


@pytest.fixture
def bfloat16_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor computes in bfloat16, so weights on a CPU take two bytes each."""
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})


@pytest.mark.usefixtures("bfloat16_processor")
def test_the_official_weights_fit_16_gb_of_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory(CPU, "--ram", "15.6") == 0, capsys.readouterr().out
    assert memory(CPU, "--ram", "12") == 1
    assert "together they take" in capsys.readouterr().out


@pytest.mark.usefixtures("bfloat16_processor")
def test_without_a_size_nothing_is_refused_that_fits_some_device() -> None:
    assert [memory(config) for config in (EMBEDDED, CPU, *PRESETS)] == [0] * (2 + len(PRESETS))


@pytest.mark.parametrize(
    ("preset", "gpu", "sentences"),
    [
        ("single_gpu_24gb", 15.0, ["together they take", "Ray may give others the rest"]),
        ("single_gpu_80gb", L40S, ["together they take"]),
        ("multi_gpu_node", L40S, []),
        ("multi_gpu_node", 40.0, ["LanguageModel takes 47"]),
        ("cluster", 28.0, ["LanguageModel takes 47", "together they take"]),
    ],
)
def test_what_cannot_fit_a_gpu_is_refused(
    preset: str, gpu: float, sentences: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = memory(PROJECT_ROOT / "configs" / f"{preset}.yaml", "--gpu", str(gpu))
    shown = capsys.readouterr().out
    assert code == (1 if sentences else 0), shown
    assert all(sentence in shown for sentence in sentences), shown


@pytest.mark.parametrize(
    ("section", "changes", "sentence"),
    [
        ("language_model", {"kv_cache_bytes": 2 << 30}, "raise the one or lower the other"),
        ("language_model", {"kv_cache_bytes": None}, "beside others vLLM cannot measure"),
        ("language_model", {"gpu_memory_utilization": 0.6}, "vLLM does not start with less than"),
        ("codec", {"tile_batch": 40}, "lower codec.tile_batch"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path: Path,
    section: str,
    changes: dict[str, Any],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = yaml.safe_load((PROJECT_ROOT / "configs" / "single_gpu_24gb.yaml").read_text())
    changed = copy.deepcopy(config)
    changed["applications"][0]["args"][section] |= changes
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(changed))
    assert memory(tmp_path / "changed.yaml", "--gpu", str(A10G)) == 1
    assert sentence in capsys.readouterr().out


def test_an_unknown_checkpoint_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(CPU.read_text())
    config["applications"][0]["args"]["models"] |= {"vae": "my-vae", "folder": str(tmp_path)}
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(config))
    assert memory(tmp_path / "changed.yaml") == 1
    assert "'my-vae' is no official checkpoint" in capsys.readouterr().err


SONG_TOKENS = 1_233
"""LM tokens of a guided song of 60 s: twice 300 codes, a prompt of 600 tokens and one of 33."""


def songs_that_fit(dit: str, language_model: str, gibibytes: float) -> int:
    """Return how many guided songs of 60 s fit into the rest as KV cache; 0 if one of 600 s does not."""
    texts, shape = 16_384, language_model_shape(OFFICIAL, language_model)
    settings = Settings(
        language_model={
            "device": "cuda",
            "dtype": "bfloat16",
            "max_model_len": 4_608,
            "max_num_seqs": 64,
            "kv_cache_bytes": 1,
        },
        generator={"device": "cuda", "tokens_per_forward": 8_192},
        codec={"device": "cuda"},
    )
    taken = sum(
        need.total
        for need in (
            language_model_need(shape, settings.language_model, "bfloat16"),
            generator_need(generator_shape(OFFICIAL, dit), settings.generator, "bfloat16", 600, texts),
            codec_need(codec_shape(OFFICIAL), settings.codec, "bfloat16"),
        )
    )
    tokens = (gibibytes * GIB - taken) // shape.cache_bytes("bfloat16")
    return int(tokens // SONG_TOKENS) if tokens >= 2 * settings.language_model.max_model_len else 0


def test_the_documented_table_of_models_and_gpus_is_the_computed_one() -> None:
    rows = re.findall(r"^\| (2B|XL) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", GPU_MEMORY, re.MULTILINE)
    assert len(rows) == 6
    dits = {"2B": "acestep-v15-turbo", "XL": "acestep-v15-xl-turbo"}
    for dit, size, *cells in rows:
        fits = [songs_that_fit(dits[dit], f"acestep-5Hz-lm-{size}", card) for card in (A10G, L40S, H100)]
        assert cells == [str(songs) if songs else "no" for songs in fits], (dit, size)
