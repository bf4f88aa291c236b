"""The shapes of a server's models for `checkpoints.memory_needs`, read from their configs alone."""

import json
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from configs.settings import ModelSettings
from deployments.checkpoints.catalog import dit_checkpoint
from deployments.checkpoints.key_map import Component
from deployments.checkpoints.layouts import (
    Layout,
    diffusers_dit_layout,
    language_model_layout,
    original_dit_layout,
    text_encoder_layout,
    vae_layout,
)
from deployments.checkpoints.location import EMBEDDED
from deployments.checkpoints.memory_needs import CodecShape, GeneratorShape, LanguageModelShape
from deployments.checkpoints.official_shapes import official_config
from deployments.checkpoints.weights import read_config

_Config = Mapping[str, Any]
_component_layouts = {component: partial(diffusers_dit_layout, component) for component in Component}


def language_model_shape(models: ModelSettings, name: str) -> LanguageModelShape:
    """The shape of the LM `name`. Raises CheckpointError."""
    config = _config(models, name)
    return LanguageModelShape(
        parameters=_parameters(language_model_layout, config),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        vocabulary=config["vocab_size"],
    )


def generator_shape(models: ModelSettings, dit: str) -> GeneratorShape:
    """The shape of the DiT called `dit` with its encoders and the text encoder. Raises CheckpointError."""
    folder = _folder(models, dit)
    if (folder / Component.TRANSFORMER).is_dir():
        configs = {component: read_config(folder / component / "config.json") for component in Component}
        config: _Config = configs[Component.TRANSFORMER]
        parameters = sum(_parameters(_component_layouts[part], configs[part]) for part in Component)
    else:
        config = _config(models, dit)
        parameters = _parameters(original_dit_layout, config)
    return GeneratorShape(
        parameters=parameters + _parameters(text_encoder_layout, _config(models, models.text_encoder)),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        takes_guidance=dit_checkpoint(dit, models.folder).takes_guidance,
    )


def codec_shape(models: ModelSettings) -> CodecShape:
    """The shape of the VAE. Raises CheckpointError."""
    config = _config(models, models.vae)
    return CodecShape(_parameters(vae_layout, config), config["decoder_channels"])


def _folder(models: ModelSettings, name: str) -> Path:
    return (EMBEDDED if models.source == "embedded" else models.folder) / name


def _config(models: ModelSettings, name: str) -> _Config:
    """The config of the checkpoint in the settings' folder, or the official one if it is not there yet."""
    file = _folder(models, name) / "config.json"
    return read_config(file) if file.exists() else official_config(name)


def _parameters(layout: Callable[[dict[str, Any]], Layout], config: _Config) -> int:
    """Number of parameters of the module that `layout` describes for a config."""
    return _counted(layout, json.dumps(config))


@cache
def _counted(layout: Callable[[dict[str, Any]], Layout], config: str) -> int:
    # Counting the parameters of an official DiT takes half a second, and a server names some models twice.
    return sum(map(math.prod, layout(json.loads(config)).values()))
