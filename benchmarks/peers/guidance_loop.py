"""Writes audio codes in a plain transformers loop with a KV cache, one job at a time."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional
from transformers import DynamicCache, Qwen3ForCausalLM

from deployments.common.messages import ComposeRequest
from deployments.language_model.sampling import draw, guide
from deployments.language_model.text.metadata import cot_yaml, lm_fields
from deployments.language_model.text.prompts import compose_prompt, unconditional_compose_prompt
from deployments.language_model.text.tokenizer import LMTokenizer


class GuidanceLoop:
    """Computes all rows of a job, two for each song, in one forward for each token.

    It computes logits of codes only.
    """

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._model = Qwen3ForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self._tokenizer = LMTokenizer.from_folder(folder)
        codes = self._tokenizer.code_ids
        self._head = self._model.lm_head.weight[codes.start : codes.stop]

    @torch.inference_mode()
    def songs(self, requests: Sequence[ComposeRequest]) -> list[tuple[int, ...]]:
        """Return the codes of guided songs of equal length."""
        (code_count,) = {request.code_count for request in requests}
        count = len(requests)
        prompts = [*map(self._prompt, requests), *map(self._unconditional_prompt, requests)]
        length = max(map(len, prompts))
        ids = torch.tensor([[0] * (length - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        scale = torch.tensor([[request.sampling.cfg_scale] for request in requests])
        samplings = [request.sampling for request in requests]
        cache = DynamicCache(config=self._model.config)
        codes: list[list[int]] = [[] for _ in requests]
        while len(codes[0]) < code_count:
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            hidden = self._model.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache
            ).last_hidden_state[:, -1]
            logits = functional.linear(hidden, self._head)
            drawn = draw(guide(logits[:count], logits[count:], scale), samplings, codes)
            for song, code in zip(codes, drawn.tolist(), strict=True):
                song.append(code)
            ids = (self._tokenizer.first_code + drawn).repeat(2)[:, None]
            mask = functional.pad(mask, (0, 1), value=1)
        return [tuple(song) for song in codes]

    def _prompt(self, request: ComposeRequest) -> list[int]:
        cot = cot_yaml(lm_fields(request.metadata, request.language))
        return self._tokenizer.encode(compose_prompt(request.caption, request.lyrics, cot))

    def _unconditional_prompt(self, request: ComposeRequest) -> list[int]:
        return self._tokenizer.encode(unconditional_compose_prompt(request.sampling.negative_prompt))
