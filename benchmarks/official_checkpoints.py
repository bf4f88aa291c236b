"""Builds checkpoints with random weights in the official shapes and types.

Their costs are real, their sound is noise.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks import random_language_model
from configs.settings import ModelSettings
from deployments.checkpoints.key_map import SILENCE_FILE
from deployments.checkpoints.layouts import Layout, original_dit_layout, silence_shape, text_encoder_layout
from deployments.checkpoints.official_shapes import official_config
from deployments.tiny_checkpoints.music_models import write_random_text_encoder, write_random_vae

_LM_TEXT_TOKENS = 151_643
"""Number of text tokens in Qwen3's vocabulary. Control tokens follow them."""
FORMAT = "1"
"""Version of the checkpoints' layout. Folders with another version are built anew."""


def official_models(folder: Path) -> ModelSettings:
    """Return settings of the 2B turbo DiT, 0.6B LM, text encoder and VAE in `folder`, built if missing.

    They take 7.8 GB of disk. Building them takes 6 GB of memory and two to three minutes.
    """
    models = ModelSettings(source="folder", folder=folder)
    label = folder / "FORMAT"
    if not label.exists() or label.read_text() != FORMAT:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            aside = Path(name) / "models"
            _build(aside, models)
            (aside / "FORMAT").write_text(FORMAT)
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
    return models


def _build(folder: Path, models: ModelSettings) -> None:
    language_model = models.language_models[0]
    for name in (models.dits[0], models.vae, models.text_encoder, language_model):
        (folder / name).mkdir(parents=True)
    _write_dit(folder / models.dits[0])
    write_random_vae(folder / models.vae, official_config(models.vae))
    _write_text_encoder(folder / models.text_encoder)
    config = official_config(language_model)
    layers, width = config["num_hidden_layers"], config["hidden_size"]
    random_language_model.build(folder / language_model, layers, width, _LM_TEXT_TOKENS)


def _write_dit(folder: Path) -> None:
    config = official_config(folder.name)
    _write_weights(folder / "model.safetensors", original_dit_layout(config))
    (folder / "config.json").write_text(json.dumps(config))
    _, frames, channels = silence_shape(config)
    torch.save(torch.randn(1, channels, frames), folder / SILENCE_FILE)


def _write_text_encoder(folder: Path) -> None:
    config = official_config(folder.name)
    sizes = {name: config[name] for name in ("num_hidden_layers", "num_attention_heads", "head_dim")}
    # The small tokenizer covers part of the vocabulary. Weights and config are then written in full size.
    write_random_text_encoder(
        folder, sizes | {"hidden_size": 64, "intermediate_size": 64, "num_key_value_heads": 8}
    )
    _write_weights(folder / "model.safetensors", text_encoder_layout(config))
    (folder / "config.json").write_text(json.dumps(config))


def _write_weights(file: Path, layout: Layout) -> None:
    torch.manual_seed(0)
    save_file(_random_weights(layout), file, metadata={"format": "pt"})


def _random_weights(layout: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return bfloat16 values that keep activations near one."""
    weights = {}
    for name, shape in layout.items():
        if len(shape) == 1 and name.endswith("weight"):  # These are the weights of a norm.
            weights[name] = torch.ones(shape, dtype=torch.bfloat16)
        else:
            inputs = torch.Size(shape[1:]).numel() if len(shape) > 1 else 100
            weights[name] = torch.randn(shape, dtype=torch.bfloat16).div_(inputs**0.5)
    return weights
