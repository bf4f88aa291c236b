"""The plainest way to run the LM with transformers: one song, one row, one token at a time."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import DynamicCache, Qwen3ForCausalLM

from deployments.language_model.backend import TokenRequest
from deployments.language_model.sampling import draw, guide

TIE = 1e-4


@dataclass
class Reference:
    model: Qwen3ForCausalLM

    @classmethod
    def load(cls, folder: Path) -> "Reference":
        return cls(Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())

    @torch.inference_mode()
    def disagreement(self, request: TokenRequest, tokens: list[int]) -> str | None:
        """Return where `tokens` differ from what this loop writes for a request without grammar, or None.

        A tie, which less than 1e-4 of logit decides, is reported and ends the comparison.
        """
        if len(tokens) != request.max_tokens:
            return f"{len(tokens)} tokens of {request.max_tokens}"
        allowed = request.allowed
        rows = [Row(self.model, request.prompt)]
        if request.unconditional_prompt is not None:
            rows.append(Row(self.model, request.unconditional_prompt))
        for step, token in enumerate(tokens):
            logits = [row.logits[:, allowed.start : allowed.stop] for row in rows]
            if len(logits) == 2:
                logits = [guide(logits[0], logits[1], torch.tensor([[request.sampling.cfg_scale]]))]
            history = [[before - allowed.start for before in tokens[:step]]]
            expected = int(draw(logits[0], [request.sampling], history)) + allowed.start
            if token != expected:
                nudged = logits[0].clone()
                nudged[0, token - allowed.start] += TIE
                tie = int(draw(nudged, [request.sampling], history)) + allowed.start == token
                print(f"step {step}: {token}, expected {expected}{' (a tie)' if tie else ''}")
                return None if tie else f"step {step}: {token} instead of {expected}"
            for row in rows:
                row.append(token)
        return None


class Row:
    def __init__(self, model: Qwen3ForCausalLM, prompt: list[int]) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._run(prompt)

    def append(self, token: int) -> None:
        self._run([token])

    def _run(self, tokens: list[int]) -> None:
        output = self._model(
            torch.tensor([tokens]), past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        self.logits = output.logits[:, -1].float()
