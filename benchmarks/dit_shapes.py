"""Builds DiTs in the official shapes without weights, and rows for them.

The shape alone determines the cost.
"""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.dit_config import dit_config
from configs.domain import LATENT_RATE
from deployments.checkpoints.dit_modules import AceStepTransformer1DModel
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.checkpoints.weights import module_without_weights
from deployments.generator.trajectory import Condition, Row

TWO_B = dit_config(layers=24, width=2048)
XL = dit_config(layers=32, width=2560) | {
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "encoder_hidden_size": 2048,
}
CONDITION_TOKENS = 400
"""Text tokens of a song with a verse and a chorus, as in the roofline."""

_CHANNELS = 64


def shapes_only(config: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> AceStepTransformer1DModel:
    """Return the DiT of a config.json on the meta device, which computes shapes only."""
    model: Any = module_without_weights(
        AceStepTransformer1DModel, module_arguments(Component.TRANSFORMER, config)
    )
    frozen: AceStepTransformer1DModel = model.to(dtype).eval().requires_grad_(False)
    return frozen


def rows_of(
    model: AceStepTransformer1DModel,
    seconds: Sequence[float],
    levels: Sequence[float] = (1.0,),
    condition_tokens: int = CONDITION_TOKENS,
) -> list[Row]:
    """Return one row of zeros for each of `seconds`. The rows take the noise `levels` in turn."""
    width = model.condition_embedder.in_features
    rows = []
    for index, duration in enumerate(seconds):
        frames = round(duration * LATENT_RATE)
        latents = torch.zeros(frames, _CHANNELS, device=model.device)
        # Prompts differ in length, as those of real songs do.
        states = torch.zeros(condition_tokens + index, width, device=model.device, dtype=model.dtype)
        context = torch.zeros(frames, 2 * _CHANNELS, device=model.device, dtype=model.dtype)
        rows.append(Row(latents, levels[index % len(levels)], Condition(states, context)))
    return rows
