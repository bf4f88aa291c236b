"""Encodes texts and a timbre reference into the states to which the DiT's cross-attention attends."""

from functools import cached_property

import torch

from deployments.checkpoints.loading import DiTModules
from deployments.generator.text_encoder import TextEncoder


class ConditionEncoder:
    """Encodes lyrics, timbre and caption of one song, and packs them without padding."""

    def __init__(
        self, modules: DiTModules, text_encoder: TextEncoder, silent_reference: torch.Tensor
    ) -> None:
        """`silent_reference` is [750, channels]."""
        self._encoder = modules.condition_encoder
        self._text_encoder = text_encoder
        self._silent_reference = silent_reference

    @property
    def unconditional(self) -> torch.Tensor:
        """[1, hidden]: the learned null condition embedding."""
        embedding: torch.Tensor = self._encoder.null_condition_emb[0]
        return embedding

    def prefix(self, lyric_ids: tuple[int, ...], reference: torch.Tensor | None) -> torch.Tensor:
        """[lyric tokens + 1, hidden]: lyrics and timbre, which do not depend on the instruction.

        `reference` is [750, channels]; None means silence.
        """
        embeddings = self._text_encoder.embeddings(lyric_ids)[None]
        everything = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        lyrics = self._encoder.lyric_encoder(inputs_embeds=embeddings, attention_mask=everything)[0]
        timbre = self._silent_timbre if reference is None else self._timbre(reference)
        return torch.cat([lyrics, timbre])

    def states(self, prefix: torch.Tensor, caption_ids: tuple[int, ...]) -> torch.Tensor:
        """[tokens, hidden]: `prefix` followed by the caption."""
        return torch.cat([prefix, self._encoder.text_projector(self._text_encoder.states(caption_ids))])

    @cached_property
    def _silent_timbre(self) -> torch.Tensor:
        return self._timbre(self._silent_reference)

    def _timbre(self, reference: torch.Tensor) -> torch.Tensor:
        """[1, hidden]"""
        owner = torch.zeros(1, dtype=torch.long, device=reference.device)
        timbre, _ = self._encoder.timbre_encoder(reference[None], owner)
        pooled: torch.Tensor = timbre[0]
        return pooled
