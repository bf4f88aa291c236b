"""Builds a turbo DiT with random weights and its encoders, in the proportions of the official 2B model."""

from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import Qwen3Config, Qwen3Model

from benchmarks.dit_config import CHANNELS, HEAD_DIM, dit_config
from deployments.checkpoints.catalog import DiTCheckpoint, Variant
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.checkpoints.loading import MODULE_CLASSES, DiTModules
from deployments.tiny_checkpoints.tokenizer import train_tokenizer

_SILENCE_FRAMES = 15_000


@dataclass(frozen=True)
class RandomGenerator:
    """The modules from which both our engine and diffusers' pipeline are made."""

    checkpoint: DiTCheckpoint
    modules: DiTModules
    text_encoder: Qwen3Model
    tokenizer: Tokenizer

    def to(self, dtype: torch.dtype) -> None:
        for module in (*self._model_parts(), self.text_encoder):
            module.to(dtype)

    def _model_parts(self) -> tuple[torch.nn.Module, ...]:
        modules = self.modules
        return (
            modules.transformer,
            modules.condition_encoder,
            modules.audio_tokenizer,
            modules.audio_token_detokenizer,
        )


def random_generator(layers: int, width: int) -> RandomGenerator:
    """Return a DiT of `layers` layers and this width, with encoders in the official proportions."""
    torch.manual_seed(0)
    config = dit_config(layers, width)
    modules: dict[Component, Any] = {
        component: kind(**module_arguments(component, config)).eval().requires_grad_(False)
        for component, kind in MODULE_CLASSES.items()
    }
    silence = torch.randn(1, _SILENCE_FRAMES, CHANNELS)
    modules[Component.CONDITION_ENCODER].register_buffer("silence_latent", silence)
    tokenizer = train_tokenizer(640)
    return RandomGenerator(
        DiTCheckpoint("random", Variant.TURBO, default_shift=3.0, repo=None),
        DiTModules(Variant.TURBO, **modules),
        _text_encoder(layers, width // 2, tokenizer.get_vocab_size()),
        tokenizer,
    )


def _text_encoder(layers: int, width: int, vocabulary_size: int) -> Qwen3Model:
    config = Qwen3Config(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(2, width // 64),
        num_key_value_heads=max(1, width // 128),
        head_dim=HEAD_DIM,
    )
    return Qwen3Model(config).eval().requires_grad_(False)
