"""The config file of a turbo DiT in the proportions of the official 2B model."""

from typing import Any

HEAD_DIM = 128
CHANNELS = 64
"""Channels of the latents."""


def dit_config(layers: int, width: int) -> dict[str, Any]:
    """Return a config.json in the official proportions."""
    return {
        "is_turbo": True,
        "model_version": "turbo",
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(2, width // HEAD_DIM),
        "num_key_value_heads": max(1, width // HEAD_DIM // 2),
        "head_dim": HEAD_DIM,
        "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
        "sliding_window": 128,
        "rope_theta": 1_000_000,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "in_channels": 3 * CHANNELS,
        "patch_size": 2,
        "audio_acoustic_hidden_dim": CHANNELS,
        "timbre_hidden_dim": CHANNELS,
        "text_hidden_dim": width // 2,
        "num_lyric_encoder_hidden_layers": max(1, layers // 3),
        "num_timbre_encoder_hidden_layers": max(1, layers // 6),
        "num_attention_pooler_hidden_layers": 2,
        "pool_window_size": 5,
        "fsq_dim": width,
        "fsq_input_levels": [8, 8, 8, 5, 5, 5],
        "fsq_input_num_quantizers": 1,
    }
