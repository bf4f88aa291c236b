"""The matrices of a DiT that an adapter can change, and the names that writers of adapters give them.

A matrix has the name of its module in the original decoder, without `decoder.`: `layers.0.self_attn.q_proj`.
"""

import re
from collections.abc import Mapping
from typing import Any

from deployments.checkpoints.adapters.errors import AdapterError

Linears = Mapping[str, tuple[int, int]]
"""Name of a matrix -> its shape (rows, columns)."""

_TIME_CHANNELS = 256
"""Width of the sinusoids that the time embeddings of every published DiT begin with."""

_PREFIXES = re.compile(r"(base_model\.model\.|diffusion_model\.|transformer\.|decoder\.)*")
_UNDERSCORED_PREFIXES = re.compile(r"(lora_unet_|lycoris_|lora_|decoder_|transformer_)*")
_FROM_DIFFUSERS = (
    ("to_q", "q_proj"),
    ("to_k", "k_proj"),
    ("to_v", "v_proj"),
    ("to_out.0", "o_proj"),
    ("proj_in_conv", "proj_in.1"),
)
_OTHER_PARTS = (
    "encoder",
    "text_encoder",
    "text_encoders",
    "tokenizer",
    "detokenizer",
    "condition_encoder",
    "lm_head",
    "embed_tokens",
)
_BELONGS_TO_ANOTHER_PART = re.compile(
    r"(?:base_model\.model\.|model\.|lora_|lycoris_)*(te\d?_|" + "|".join(_OTHER_PARTS) + r")(?=[._]|$)"
)
_LANGUAGE_MODEL = re.compile(r"(base_model\.model\.)?model\.layers\.")
_FIRST_VERSION = re.compile(r"(^|\.|_)transformer_blocks[._]")


def decoder_linears(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """The matrices of the DiT that `config` describes; the config.json of either layout will do.

    The convolution that makes tokens of latents counts as the matrix that it is with its kernel flattened:
    [hidden, channels * patch_size]. Raises KeyError for a config without sizes.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    words = config.get("encoder_hidden_size") or hidden
    found = {
        "proj_in.1": (hidden, config["in_channels"] * config["patch_size"]),
        "condition_embedder": (hidden, words),
    }
    for embedding in ("time_embed", "time_embed_r"):
        found[f"{embedding}.linear_1"] = (hidden, _TIME_CHANNELS)
        found[f"{embedding}.linear_2"] = (hidden, hidden)
        found[f"{embedding}.time_proj"] = (6 * hidden, hidden)
    for layer in range(config["num_hidden_layers"]):
        for attention in ("self_attn", "cross_attn"):
            found[f"layers.{layer}.{attention}.q_proj"] = (queries, hidden)
            found[f"layers.{layer}.{attention}.k_proj"] = (keys, hidden)
            found[f"layers.{layer}.{attention}.v_proj"] = (keys, hidden)
            found[f"layers.{layer}.{attention}.o_proj"] = (hidden, queries)
        found[f"layers.{layer}.mlp.gate_proj"] = (inner, hidden)
        found[f"layers.{layer}.mlp.up_proj"] = (inner, hidden)
        found[f"layers.{layer}.mlp.down_proj"] = (hidden, inner)
    return found


_LAYER = re.compile(
    r"layers\.\d+\.((self_attn|cross_attn)\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
    r"|proj_in\.1|condition_embedder|time_embed(_r)?\.(linear_1|linear_2|time_proj)"
)
_UNDERSCORED_LAYER = re.compile(
    r"layers_(\d+)_(self_attn|cross_attn|mlp)_((?:[qkvo]|gate|up|down)_proj|to_q|to_k|to_v|to_out_0)"
)
_UNDERSCORED = {
    "proj_in_1": "proj_in.1",
    "proj_in_conv": "proj_in.1",
    "condition_embedder": "condition_embedder",
} | {
    f"{embedding}_{linear}": f"{embedding}.{linear}"
    for embedding in ("time_embed", "time_embed_r")
    for linear in ("linear_1", "linear_2", "time_proj")
}


def linear_named(written: str) -> str | None:
    """The matrix that a file calls `written`; None for a name that no writer of adapters for this model uses.

    The layer that it names may be beyond those of a DiT. Raises AdapterError for a part of the model, or for
    a version of it, that no adapter may change here.
    """
    if _FIRST_VERSION.search(written):
        raise AdapterError(
            f"it is for ACE-Step 1.0 ({written}), another architecture than this server's ACE-Step 1.5"
        )
    if _LANGUAGE_MODEL.match(written):
        raise AdapterError(
            f"it is for a language model ({written}): only the DiT can have adapters, and a language model "
            "that its adapter was merged into can be served as one more"
        )
    if other := _BELONGS_TO_ANOTHER_PART.match(written):
        raise AdapterError(
            f"it changes the {other[1].rstrip('_')} ({written}): only the DiT itself can have adapters"
        )
    name = _PREFIXES.sub("", written, count=1)
    for diffusers, original in _FROM_DIFFUSERS:
        if name.endswith(f".{diffusers}") or name == diffusers:
            name = name.removesuffix(diffusers) + original
    if _LAYER.fullmatch(name):
        return name
    return _from_underscores(_UNDERSCORED_PREFIXES.sub("", written, count=1))


def _from_underscores(name: str) -> str | None:
    if name in _UNDERSCORED:
        return _UNDERSCORED[name]
    if (found := _UNDERSCORED_LAYER.fullmatch(name)) is None:
        return None
    number, block, linear = found.groups()
    linear = dict(_FROM_DIFFUSERS).get(linear.replace("to_out_0", "to_out.0"), linear)
    return f"layers.{number}.{block}.{linear}"
