"""Names and shapes in the official weight files, written down from the original models' structure.

They are independent of the modules that the server loads, and `deployments.checkpoints` is tested against
them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Shape = tuple[int, ...]
Layout = dict[str, Shape]


def dit_layout(config: Mapping[str, Any]) -> Layout:
    """Return the layout of `acestep-v15-*/model.safetensors`."""
    encoder = _encoder_config(config)
    return {
        **_under("decoder", _decoder(config)),
        **_under("encoder", _condition_encoder(encoder)),
        **_under("tokenizer", _tokenizer(encoder)),
        **_under("detokenizer", _detokenizer(encoder)),
        "null_condition_emb": (1, 1, encoder["hidden_size"]),
    }


def qwen3_layout(config: Mapping[str, Any]) -> Layout:
    """Return the layout of a Qwen3 model whose head is tied to its embedding, without the prefix `model.`."""
    embedding = {"embed_tokens.weight": (config["vocab_size"], config["hidden_size"])}
    return embedding | _blocks(config, config["num_hidden_layers"])


def vae_layout(config: Mapping[str, Any]) -> Layout:
    """Return the layout of `vae/diffusion_pytorch_model.safetensors`."""
    strides, multiples = config["downsampling_ratios"], [1, *config["channel_multiples"]]
    encoder = _vae_encoder(config, strides, multiples)
    decoder = _vae_decoder(config, strides[::-1], multiples[::-1])
    return _under("encoder", encoder) | _under("decoder", decoder)


def _encoder_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the encoders around the DiT, for which XL has separate sizes."""
    own = {name.removeprefix("encoder_"): config[name] for name in config if name.startswith("encoder_")}
    return {**config, **own}


def _decoder(config: Mapping[str, Any]) -> Layout:
    hidden, channels, patch = config["hidden_size"], config["audio_acoustic_hidden_dim"], config["patch_size"]
    condition = config.get("encoder_hidden_size", hidden)
    layout: Layout = {
        **_linear("condition_embedder", condition, hidden),
        "proj_in.1.weight": (hidden, config["in_channels"], patch),
        "proj_in.1.bias": (hidden,),
        "proj_out.1.weight": (hidden, channels, patch),
        "proj_out.1.bias": (channels,),
        "norm_out.weight": (hidden,),
        "scale_shift_table": (1, 2, hidden),
    }
    for embedding in ("time_embed", "time_embed_r"):
        layout |= _linear(f"{embedding}.linear_1", 256, hidden)
        layout |= _linear(f"{embedding}.linear_2", hidden, hidden)
        layout |= _linear(f"{embedding}.time_proj", hidden, 6 * hidden)
    for index in range(config["num_hidden_layers"]):
        layer = {
            **_under("self_attn", _attention(config)),
            **_under("cross_attn", _attention(config)),
            **_under("mlp", _feed_forward(config)),
            "scale_shift_table": (1, 6, hidden),
        } | {f"{norm}.weight": (hidden,) for norm in ("self_attn_norm", "cross_attn_norm", "mlp_norm")}
        layout |= _under(f"layers.{index}", layer)
    return layout


def _condition_encoder(config: Mapping[str, Any]) -> Layout:
    hidden, text = config["hidden_size"], config["text_hidden_dim"]
    lyrics = _linear("embed_tokens", text, hidden) | _blocks(
        config, config["num_lyric_encoder_hidden_layers"]
    )
    timbre = {
        **_linear("embed_tokens", config["timbre_hidden_dim"], hidden),
        **_blocks(config, config["num_timbre_encoder_hidden_layers"]),
        "special_token": (1, 1, hidden),
    }
    return {
        "text_projector.weight": (hidden, text),
        **_under("lyric_encoder", lyrics),
        **_under("timbre_encoder", timbre),
    }


def _tokenizer(config: Mapping[str, Any]) -> Layout:
    hidden, code = config["hidden_size"], len(config["fsq_input_levels"])
    pooler = {
        **_linear("embed_tokens", hidden, hidden),
        **_blocks(config, config["num_attention_pooler_hidden_layers"]),
        "special_token": (1, 1, hidden),
    }
    return {
        **_linear("audio_acoustic_proj", config["audio_acoustic_hidden_dim"], hidden),
        **_under("attention_pooler", pooler),
        **_linear("quantizer.project_in", config["fsq_dim"], code),
        **_linear("quantizer.project_out", code, config["fsq_dim"]),
    }


def _detokenizer(config: Mapping[str, Any]) -> Layout:
    hidden = config["hidden_size"]
    return {
        **_linear("embed_tokens", hidden, hidden),
        **_blocks(config, config["num_attention_pooler_hidden_layers"]),
        **_linear("proj_out", hidden, config["audio_acoustic_hidden_dim"]),
        "special_tokens": (1, config["pool_window_size"], hidden),
    }


def _blocks(config: Mapping[str, Any], count: int) -> Layout:
    """Return Qwen3's layers and the norm after them."""
    hidden = config["hidden_size"]
    layout: Layout = {"norm.weight": (hidden,)}
    for index in range(count):
        layer = {
            **_under("self_attn", _attention(config)),
            **_under("mlp", _feed_forward(config)),
            "input_layernorm.weight": (hidden,),
            "post_attention_layernorm.weight": (hidden,),
        }
        layout |= _under(f"layers.{index}", layer)
    return layout


def _attention(config: Mapping[str, Any]) -> Layout:
    hidden, head = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return {
        "q_proj.weight": (queries, hidden),
        "k_proj.weight": (keys, hidden),
        "v_proj.weight": (keys, hidden),
        "o_proj.weight": (hidden, queries),
        "q_norm.weight": (head,),
        "k_norm.weight": (head,),
    }


def _feed_forward(config: Mapping[str, Any]) -> Layout:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return {
        "gate_proj.weight": (inner, hidden),
        "up_proj.weight": (inner, hidden),
        "down_proj.weight": (hidden, inner),
    }


def _vae_encoder(config: Mapping[str, Any], strides: list[int], multiples: list[int]) -> Layout:
    latent = config["encoder_hidden_size"]  # The width covers mean and scale.
    layout = _convolution("conv1", config["audio_channels"], latent, 7)
    for index, (stride, narrow, wide) in enumerate(zip(strides, multiples, multiples[1:], strict=False)):
        layout |= _under(f"block.{index}", dict(_residual_units(latent * narrow)))
        layout |= _snake(f"block.{index}.snake1", latent * narrow)
        layout |= _convolution(f"block.{index}.conv1", latent * narrow, latent * wide, 2 * stride)
    widest = latent * multiples[-1]
    return layout | _snake("snake1", widest) | _convolution("conv2", widest, latent, 3)


def _vae_decoder(config: Mapping[str, Any], strides: list[int], multiples: list[int]) -> Layout:
    channels = config["decoder_channels"]
    layout = _convolution("conv1", config["decoder_input_channels"], channels * multiples[0], 7)
    for index, (stride, wide, narrow) in enumerate(zip(strides, multiples, multiples[1:], strict=False)):
        layout |= _snake(f"block.{index}.snake1", channels * wide)
        transposed = {
            "weight_g": (channels * wide, 1, 1),
            "weight_v": (channels * wide, channels * narrow, 2 * stride),
            "bias": (channels * narrow,),
        }
        layout |= _under(f"block.{index}.conv_t1", transposed)
        layout |= _under(f"block.{index}", dict(_residual_units(channels * narrow)))
    last = _convolution("conv2", channels, config["audio_channels"], 7)
    del last["conv2.bias"]
    return layout | _snake("snake1", channels) | last


def _residual_units(channels: int) -> Iterator[tuple[str, Shape]]:
    for unit in ("res_unit1", "res_unit2", "res_unit3"):
        for index, kernel in ((1, 7), (2, 1)):
            yield from _snake(f"{unit}.snake{index}", channels).items()
            yield from _convolution(f"{unit}.conv{index}", channels, channels, kernel).items()


def _snake(name: str, channels: int) -> Layout:
    return {f"{name}.alpha": (1, channels, 1), f"{name}.beta": (1, channels, 1)}


def _convolution(name: str, inputs: int, outputs: int, kernel: int) -> Layout:
    """Return a convolution with weight norm."""
    return {
        f"{name}.weight_g": (outputs, 1, 1),
        f"{name}.weight_v": (outputs, inputs, kernel),
        f"{name}.bias": (outputs,),
    }


def _linear(name: str, inputs: int, outputs: int) -> Layout:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _under(name: str, layout: Mapping[str, Shape]) -> Layout:
    return {f"{name}.{key}": shape for key, shape in layout.items()}
