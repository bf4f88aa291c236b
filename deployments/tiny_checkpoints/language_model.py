"""Building a tiny 5Hz LM in the official layout, with random weights.

Its vocabulary has the text tokens of a small byte-level BPE, Qwen3's 26 control tokens and all 65,535 code
tokens. It writes valid metadata because the grammar forces it to, but its codes make no musical sense.
"""

import json
from pathlib import Path
from typing import Any

from configs.domain import code_token
from deployments.language_model.text.prompts import END_THINK, THINK, TURN_END, TURN_START
from deployments.tiny_checkpoints.tokenizer import train_tokenizer

SEED = 20_260_101
TEXT_TOKENS = 1024
END_SCALE = 1.8
"""Factor of the embedding of the token that ends a text.

The embedding is also the row of the output layer, so this token is drawn about every sixtieth time, and a
text has some sixty tokens. Other random weights would draw it every thousandth time and write for many
seconds.
"""
CODE_TOKENS = 65_535
"""Code tokens of the official vocabulary; the codec knows the first 64,000."""

CONTROL_TOKENS = (
    "<|endoftext|>",
    TURN_START.name,
    TURN_END.name,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    THINK.name,
    END_THINK.name,
)
"""Qwen3's added tokens in the order of their ids."""

_PLAIN = frozenset(CONTROL_TOKENS[14:])
"""The control tokens that Qwen3 does not mark as special."""

_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000,
    "tie_word_embeddings": True,
    "initializer_range": 0.35,
    "dtype": "bfloat16",
}


def build(folder: Path) -> None:
    """Write the checkpoint into the existing `folder`: config, weights, tokenizer, generation config."""
    spec = tokenizer_spec(_byte_level_bpe())
    _write_json(folder / "tokenizer.json", spec)
    _write_json(folder / "tokenizer_config.json", tokenizer_config())
    ids = {token["content"]: token["id"] for token in spec["added_tokens"]}
    ends = {"eos_token_id": ids[TURN_END.name], "pad_token_id": ids[CONTROL_TOKENS[0]]}
    config = _CONFIG | ends | {"vocab_size": spec["added_tokens"][-1]["id"] + 1}
    write_random_weights(folder, config)
    _write_json(folder / "generation_config.json", ends)


def tokenizer_spec(bpe: dict[str, Any]) -> dict[str, Any]:
    """A BPE's `tokenizer.json` extended by the official control tokens, then the code tokens."""
    names = [*CONTROL_TOKENS, *(code_token(code) for code in range(CODE_TOKENS))]
    first = len(bpe["model"]["vocab"])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {
            "id": first + index,
            "content": name,
            **flags,
            "special": name in CONTROL_TOKENS and name not in _PLAIN,
        }
        for index, name in enumerate(names)
    ]
    return bpe | {"added_tokens": added}


def write_random_weights(folder: Path, config: dict[str, Any]) -> None:
    """Write `config.json` and `model.safetensors` of a Qwen3 with random weights of the config's dtype.

    Where the config names an `eos_token_id`, texts end after some sixty tokens (END_SCALE).
    """
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen3Config, Qwen3ForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = Qwen3ForCausalLM(Qwen3Config(**config)).to(getattr(torch, config["dtype"]))
    end = config.get("eos_token_id")
    if end is not None:
        with torch.no_grad():
            model.get_input_embeddings().weight[end] *= END_SCALE
    weights = {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config)


def _byte_level_bpe() -> dict[str, Any]:
    """The text encoder's BPE without its own special tokens."""
    spec: dict[str, Any] = json.loads(train_tokenizer(TEXT_TOKENS).to_str())
    return spec | {"post_processor": None}


def tokenizer_config() -> dict[str, Any]:
    """The content of `tokenizer_config.json`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": TURN_END.name,
        "pad_token": CONTROL_TOKENS[0],
        "model_max_length": _CONFIG["max_position_embeddings"],
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
