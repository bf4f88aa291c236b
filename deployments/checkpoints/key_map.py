"""The mapping between names in the original checkpoint and in diffusers' modules.

The original keeps all modules in one state dict; diffusers splits them into components and renames the
attention projections. Loading needs one direction, building tiny checkpoints the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deployments.checkpoints.errors import CheckpointError


class Component(StrEnum):
    """The components of a DiT checkpoint, named like the folders of the diffusers layout."""

    TRANSFORMER = "transformer"
    CONDITION_ENCODER = "condition_encoder"
    AUDIO_TOKENIZER = "audio_tokenizer"
    AUDIO_TOKEN_DETOKENIZER = "audio_token_detokenizer"


_PREFIXES = {
    "decoder.": Component.TRANSFORMER,
    "encoder.": Component.CONDITION_ENCODER,
    "tokenizer.": Component.AUDIO_TOKENIZER,
    "detokenizer.": Component.AUDIO_TOKEN_DETOKENIZER,
}

_UNPREFIXED = {"null_condition_emb": Component.CONDITION_ENCODER}

_EVERYWHERE = (
    (".q_proj.", ".to_q."),
    (".k_proj.", ".to_k."),
    (".v_proj.", ".to_v."),
    (".o_proj.", ".to_out.0."),
    (".q_norm.", ".norm_q."),
    (".k_norm.", ".norm_k."),
)

_IN_TRANSFORMER = (("proj_in.1.", "proj_in_conv."), ("proj_out.1.", "proj_out_conv."))

SILENCE_FILE = "silence_latent.pt"
"""File beside the original weights, float32 [1, channels, 15000]. diffusers has it as a buffer,
SILENCE_BUFFER."""
SILENCE_BUFFER = "silence_latent"


def to_diffusers(key: str) -> tuple[Component, str]:
    """The component of an original `key`, and its name there. Raises CheckpointError for unknown keys."""
    if key in _UNPREFIXED:
        return _UNPREFIXED[key], key
    for prefix, component in _PREFIXES.items():
        if key.startswith(prefix):
            renamed = key.removeprefix(prefix)
            for original, diffusers in _renames(component):
                renamed = renamed.replace(original, diffusers)
            return component, renamed
    raise CheckpointError(f"{key!r} belongs to no part of an ACE-Step 1.5 checkpoint")


def to_original(component: Component, key: str) -> str:
    """The inverse of `to_diffusers`."""
    if key in _UNPREFIXED:
        return key
    for original, diffusers in _renames(component):
        key = key.replace(diffusers, original)
    prefix = next(prefix for prefix, owner in _PREFIXES.items() if owner is component)
    return prefix + key


def _renames(component: Component) -> tuple[tuple[str, str], ...]:
    return _EVERYWHERE + (_IN_TRANSFORMER if component is Component.TRANSFORMER else ())


@dataclass(frozen=True)
class _Arguments:
    """The entries of the original config.json from which a module is constructed."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


_ATTENTION = ("num_key_value_heads", "head_dim", "sliding_window")
_NUMERICS = ("rope_theta", "attention_bias", "attention_dropout", "rms_norm_eps")
"""Optional, because diffusers' defaults are the values of every official checkpoint."""
_SIZES = ("hidden_size", "intermediate_size", "num_attention_heads")

_ARGUMENTS = {
    Component.TRANSFORMER: _Arguments(
        (
            *_SIZES,
            *_ATTENTION,
            "num_hidden_layers",
            "in_channels",
            "audio_acoustic_hidden_dim",
            "patch_size",
            "layer_types",
        ),
        (*_NUMERICS, "is_turbo", "model_version", "encoder_hidden_size"),
    ),
    Component.CONDITION_ENCODER: _Arguments(
        (
            *_SIZES,
            *_ATTENTION,
            "text_hidden_dim",
            "timbre_hidden_dim",
            "num_lyric_encoder_hidden_layers",
            "num_timbre_encoder_hidden_layers",
        ),
        _NUMERICS,
    ),
    Component.AUDIO_TOKENIZER: _Arguments(
        (
            *_SIZES,
            *_ATTENTION,
            "audio_acoustic_hidden_dim",
            "pool_window_size",
            "num_attention_pooler_hidden_layers",
            "layer_types",
            "fsq_dim",
            "fsq_input_levels",
            "fsq_input_num_quantizers",
        ),
        _NUMERICS,
    ),
    Component.AUDIO_TOKEN_DETOKENIZER: _Arguments(
        (
            *_SIZES,
            *_ATTENTION,
            "audio_acoustic_hidden_dim",
            "pool_window_size",
            "num_attention_pooler_hidden_layers",
            "layer_types",
        ),
        _NUMERICS,
    ),
}

_ENCODER_SIZES = {
    "hidden_size": "encoder_hidden_size",
    "intermediate_size": "encoder_intermediate_size",
    "num_attention_heads": "encoder_num_attention_heads",
    "num_key_value_heads": "encoder_num_key_value_heads",
}
"""In XL checkpoints the components around the DiT have sizes of their own, under these names."""


def module_arguments(component: Component, config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of diffusers' module, from an original config.json. Raises CheckpointError."""
    if component is not Component.TRANSFORMER:
        config = {**config, **{ours: config[xl] for ours, xl in _ENCODER_SIZES.items() if xl in config}}
    arguments = _ARGUMENTS[component]
    missing = [name for name in arguments.required if name not in config]
    if missing:
        raise CheckpointError(f"config.json lacks {', '.join(missing)}, needed for the {component}")
    chosen = {name: config[name] for name in arguments.required + arguments.optional if name in config}
    if component in (Component.AUDIO_TOKENIZER, Component.AUDIO_TOKEN_DETOKENIZER):
        chosen["layer_types"] = config["layer_types"][: config["num_attention_pooler_hidden_layers"]]
    return chosen
