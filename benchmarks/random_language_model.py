"""Builds a 5Hz LM with random weights, in the official 0.6B model's proportions and with its vocabulary."""

import json
from pathlib import Path
from typing import Any

from transformers import Qwen3Config, Qwen3ForCausalLM

from deployments.tiny_checkpoints.language_model import tokenizer_spec, write_random_weights
from deployments.tiny_checkpoints.tokenizer import train_tokenizer

_LEARNED_TEXT_TOKENS = 1024


def build(folder: Path, layers: int, width: int, text_tokens: int) -> None:
    """Write a checkpoint of `layers` layers and this width.

    Its vocabulary has `text_tokens`, control tokens and codes.
    """
    bpe: dict[str, Any] = json.loads(train_tokenizer(_LEARNED_TEXT_TOKENS).to_str())
    vocabulary = bpe["model"]["vocab"]
    # No text contains these tokens. They make the vocabulary as large as Qwen's.
    vocabulary |= {f"unused {token}": token for token in range(len(vocabulary), text_tokens)}
    spec = tokenizer_spec(bpe | {"post_processor": None})
    (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    write_random_weights(folder, _config(layers, width, spec["added_tokens"][-1]["id"] + 1))


def million_parameters(folder: Path) -> tuple[float, float]:
    """Return the million parameters outside the vocabulary, and those of the vocabulary."""
    import torch

    config = Qwen3Config(**json.loads((folder / "config.json").read_text()))
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config)
    vocabulary = model.lm_head.weight.numel()
    return (model.num_parameters() - vocabulary) / 1e6, vocabulary / 1e6


def _config(layers: int, width: int, vocabulary_size: int) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 128,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000,
        "tie_word_embeddings": True,
        "initializer_range": 0.05,
        "dtype": "bfloat16",
        "vocab_size": vocabulary_size,
    }
