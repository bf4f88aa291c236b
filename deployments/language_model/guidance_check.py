"""Proof at start that an engine guides: its first token against a plain forward of both rows."""

from pathlib import Path

import torch
from torch import Tensor

from configs.settings import DType, LanguageModelSettings
from deployments.errors import EngineError
from deployments.language_model.backend import TokenRequest
from deployments.language_model.prompts import compose_prompt, plan_prompt
from deployments.language_model.sampling import guide
from deployments.language_model.tokenizer import LMTokenizer
from deployments.messages import Sampling

_ROUNDING: dict[DType, float] = {"float32": 0.01, "float16": 0.2, "bfloat16": 1.0}
"""By how much guided logits of one model may differ between two engines."""


def probe(tokenizer: LMTokenizer) -> TokenRequest:
    """A guided, greedy run of one code. Its halves end differently, so that guidance decides it."""
    prompt = tokenizer.encode(compose_prompt("An upbeat pop song", "[Instrumental]", "bpm: 120"))
    other = tokenizer.encode(plan_prompt("", ""))
    return TokenRequest(prompt, other, Sampling(0, temperature=0.0, cfg_scale=3.0), tokenizer.code_ids, 1)


@torch.inference_mode()
def expected_logits(folder: Path, settings: LanguageModelSettings, request: TokenRequest) -> Tensor:
    """Guided logits [allowed tokens] of a run's first token. The model is loaded for it and freed again."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, settings.dtype))
    model = model.to(settings.device).eval()
    rows = [
        model(torch.tensor([prompt], device=settings.device), logits_to_keep=1).logits[0, -1:].cpu()
        for prompt in (request.prompt, request.unconditional_prompt)
    ]
    del model
    if settings.device == "cuda":
        torch.cuda.empty_cache()
    allowed = slice(request.allowed.start, request.allowed.stop)
    conditional, unconditional = (row[:, allowed] for row in rows)
    return guide(conditional, unconditional, torch.tensor([[request.sampling.cfg_scale]]))[0]


def require_guided(tokens: list[int], expected: Tensor, request: TokenRequest, dtype: DType) -> None:
    """Raises EngineError unless `tokens` is a best one by `expected` logits, to rounding."""
    column = tokens[0] - request.allowed.start if len(tokens) == 1 else -1
    if not 0 <= column < len(expected) or expected.max() - expected[column] > _ROUNDING[dtype]:
        best = int(expected.argmax()) + request.allowed.start
        raise EngineError(f"drew {tokens} instead of {best}: the engine's guidance is not active or wrong")
