"""Combines the DiT and its condition encoders in one trainable module."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from deployments.checkpoints.key_map import Component, module_arguments
from deployments.checkpoints.loading import MODULE_CLASSES
from deployments.generator.tasks import REFERENCE_FRAMES
from training.recipe import Recipe

_CONDITION_TOKENS = 128
"""Conditions are padded to a multiple of this length, so that compiled layers see few shapes."""


class Miniature(nn.Module):
    """Holds diffusers' transformer and condition encoder and transformers' text encoder."""

    def __init__(self, recipe: Recipe, silence: torch.Tensor) -> None:
        """Build the modules with new weights. `silence` is one latent frame, [channels]."""
        from transformers import Qwen3Config, Qwen3Model

        super().__init__()
        self.transformer: Any = _new(Component.TRANSFORMER, recipe.dit)
        self.condition_encoder: Any = _new(Component.CONDITION_ENCODER, recipe.dit)
        self.text_encoder = Qwen3Model(Qwen3Config(**recipe.text | {"dtype": "float32"}))
        # Training does not use the encoder's own copy of silence.
        del self.condition_encoder.silence_latent
        self.register_buffer("silence", silence, persistent=False)
        layers: Any = self.transformer.layers
        for layer in layers:
            layer.register_forward_pre_hook(self._attend_to_conditions_only, with_kwargs=True)
        layers[2 * len(layers) // 3 - 1].register_forward_hook(self._keep_states)
        self.states: torch.Tensor | None = None
        """[batch, patches, hidden]: states after two thirds of the layers in the last call of `velocity`."""
        self._condition_mask: torch.Tensor | None = None
        self._heard_of_references = _heard_of_references(recipe.dit)

    def compile_layers(self) -> None:
        """Compile the DiT's layers anew for each number of frames.

        It takes minutes and pays off in long training.
        """
        layers: Any = self.transformer.layers
        for layer in layers:
            layer.compile(dynamic=False)

    def conditions(
        self,
        lyrics: tuple[torch.Tensor, torch.Tensor],
        captions: tuple[torch.Tensor, torch.Tensor],
        references: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode ids with masks and references [batch, 750, channels] to states [batch, tokens, hidden].

        The second result is the mask of the states. They equal those that
        `deployments.generator.conditioning` computes one by one: the text encoder is causal, so the padding
        behind a prompt has no influence on it.
        """
        lyric_ids, lyric_mask = lyrics
        caption_ids, caption_mask = captions
        states, mask = self.condition_encoder(
            text_hidden_states=self.text_encoder(input_ids=caption_ids, use_cache=False).last_hidden_state,
            text_attention_mask=caption_mask,
            lyric_hidden_states=self.text_encoder.get_input_embeddings()(lyric_ids),
            lyric_attention_mask=lyric_mask,
            refer_audio_acoustic_hidden_states_packed=references[:, : self._heard_of_references],
            refer_audio_order_mask=torch.arange(len(references), device=references.device),
        )
        missing = -states.shape[1] % _CONDITION_TOKENS
        return pad(states, (0, 0, 0, missing)), pad(mask.bool(), (0, missing))

    def without_condition(
        self, states: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Replace the condition by one token of the null embedding in the `rows` [batch] that are true."""
        null = self.condition_encoder.null_condition_emb.expand_as(states)
        only_first = torch.zeros_like(mask)
        only_first[:, 0] = True
        return torch.where(rows[:, None, None], null, states), torch.where(rows[:, None], only_first, mask)

    def velocity(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        states: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Return the predicted velocity [batch, frames, channels] at `timesteps` [batch]."""
        self._condition_mask = mask[:, None, None, :]
        try:
            answer: torch.Tensor = self.transformer(
                hidden_states=latents,
                timestep=timesteps,
                timestep_r=timesteps,
                encoder_hidden_states=states,
                context_latents=context,
                return_dict=False,
            )[0]
        finally:
            self._condition_mask = None
        return answer

    def _attend_to_conditions_only(
        self, _layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # diffusers' transformer does not pass a mask to its layers, although they accept one.
        return arguments, named | {"encoder_attention_mask": self._condition_mask}

    def _keep_states(self, _layer: nn.Module, _arguments: tuple[Any, ...], states: torch.Tensor) -> None:
        self.states = states


def _heard_of_references(config: dict[str, Any]) -> int:
    """Return the frames of a reference that matter: those which reach the first one, where timbre is read."""
    layers = config["num_timbre_encoder_hidden_layers"]
    if "full_attention" in config["layer_types"][:layers]:
        return REFERENCE_FRAMES
    reach: int = 1 + layers * config["sliding_window"]
    return reach


def _new(component: Component, config: dict[str, Any]) -> nn.Module:
    return MODULE_CLASSES[component](**module_arguments(component, config))
