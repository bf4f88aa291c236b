"""The names and shapes of the tensors in a checkpoint's weight files, derived from its config."""

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
"""Name of a tensor -> its shape."""

LM_HEAD = "lm_head.weight"
"""The output layer of a Qwen3 model. If it is tied to the embedding, most weight files leave it out."""


def original_dit_layout(config: Mapping[str, Any]) -> Layout:
    """All four components in the single state dict of the original layout, without the silence latent."""
    return {
        to_original(component, name): shape
        for component in Component
        for name, shape in _layout(MODULE_CLASSES[component], module_arguments(component, config)).items()
        if name != SILENCE_BUFFER
    }


def silence_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape [1, frames, channels] of the silence latent that belongs to an original DiT."""
    component = Component.CONDITION_ENCODER
    return _layout(MODULE_CLASSES[component], module_arguments(component, config))[SILENCE_BUFFER]


def diffusers_dit_layout(component: Component, config: Mapping[str, Any]) -> Layout:
    """A component in the diffusers layout."""
    return _layout(MODULE_CLASSES[component], diffusers_arguments(config))


def vae_layout(config: Mapping[str, Any]) -> Layout:
    """The VAE, which has diffusers' format in both layouts."""
    return _layout(AutoencoderOobleck, diffusers_arguments(config))


def text_encoder_layout(config: Mapping[str, Any]) -> Layout:
    """A Qwen3 model without its output layer. Some files prefix every name with `model.`."""
    return _layout(_qwen3_model, config)


def language_model_layout(config: Mapping[str, Any]) -> Layout:
    """A Qwen3 model with its output layer, unless that is tied to the embedding."""
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
        # A constructor can raise any exception for a wrong config.
        raise CheckpointError(f"no module can be made from its config.json: {error}") from error
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
