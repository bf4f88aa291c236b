"""What the weight files of a checkpoint hold according to its config: names and shapes, no weights."""

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from deployments.checkpoints.diffusers_layout import diffusers_arguments
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.key_map import SILENCE_BUFFER, Component, module_arguments, to_original
from deployments.checkpoints.loading import MODULE_CLASSES
from deployments.checkpoints.vae_modules import AutoencoderOobleck
from deployments.checkpoints.weights import module_without_weights

if TYPE_CHECKING:
    from transformers import Qwen3Model

Layout = dict[str, tuple[int, ...]]
"""Shapes by name."""

LM_HEAD = "lm_head.weight"
"""Only in the files of Qwen3 models whose head is not tied to the embedding, or written out all the same."""


def original_dit_layout(config: Mapping[str, Any]) -> Layout:
    """All four components in the one state dict of the original layout; silence is a file of its own."""
    return {
        to_original(component, name): shape
        for component in Component
        for name, shape in _layout(MODULE_CLASSES[component], module_arguments(component, config)).items()
        if name != SILENCE_BUFFER
    }


def silence_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    """[1, frames, channels] of the silence beside an original DiT."""
    component = Component.CONDITION_ENCODER
    return _layout(MODULE_CLASSES[component], module_arguments(component, config))[SILENCE_BUFFER]


def diffusers_dit_layout(component: Component, config: Mapping[str, Any]) -> Layout:
    """One component of the diffusers layout."""
    return _layout(MODULE_CLASSES[component], diffusers_arguments(config))


def vae_layout(config: Mapping[str, Any]) -> Layout:
    """The VAE, which has diffusers' format in both layouts."""
    return _layout(AutoencoderOobleck, diffusers_arguments(config))


def text_encoder_layout(config: Mapping[str, Any]) -> Layout:
    """A Qwen3 model without a head. Some files put `model.` before every name."""
    return _layout(_qwen3_model, config)


def language_model_layout(config: Mapping[str, Any]) -> Layout:
    """A Qwen3 model, and its head unless that is the embedding itself."""
    layout = text_encoder_layout(config)
    if not config.get("tie_word_embeddings"):
        layout[LM_HEAD] = layout["embed_tokens.weight"]
    return layout


def _qwen3_model(**config: Any) -> "Qwen3Model":
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(Qwen3Config(**config))


def _layout(build: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> Layout:
    try:
        with warnings.catch_warnings():
            # diffusers' VAE still uses the old form of weight norm, as its checkpoints do.
            warnings.filterwarnings("ignore", message=".*weight_norm", category=FutureWarning)
            module = module_without_weights(build, arguments)
    except Exception as error:
        # What a constructor makes of a wrong config can be any exception.
        raise CheckpointError(f"no module can be made from its config.json: {error}") from error
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
