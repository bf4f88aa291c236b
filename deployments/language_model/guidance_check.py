"""Proof at start that an engine guides.

Guided logits are `u + scale * (c - u)`: at scale 1 those of the prompt, c, at scale 0 those of the other
prompt, u. So a guided run must draw what each prompt alone makes the engine draw. An engine that ignores the
other prompt or the scale draws the same at both.
"""

import asyncio

from deployments.errors import EngineError
from deployments.language_model.backend import Backend, TokenRequest
from deployments.language_model.prompts import compose_prompt, plan_prompt
from deployments.language_model.tokenizer import LMTokenizer
from deployments.messages import Sampling

_TRIES = 8
"""Parts of the codebook that the engine draws one code from. One alone could be decided by rounding."""


async def require_guided(backend: Backend, tokenizer: LMTokenizer) -> None:
    """Raises EngineError unless the guided runs of `backend` follow both prompts and the scale."""
    prompt = tokenizer.encode(compose_prompt("An upbeat pop song", "[Instrumental]", "bpm: 120"))
    other = tokenizer.encode(plan_prompt("", ""))
    size = len(tokenizer.code_ids) // _TRIES
    parts = [tokenizer.code_ids[start : start + size] for start in range(0, size * _TRIES, size)]

    async def drawn(prompt: list[int], other: list[int] | None, scale: float) -> list[list[int]]:
        """The tokens of a greedy run of one token from each part of the codebook."""
        sampling = Sampling(0, temperature=0.0, cfg_scale=scale)
        requests = [TokenRequest(prompt, other, sampling, allowed, max_tokens=1) for allowed in parts]
        return await asyncio.gather(*(_tokens(backend, request) for request in requests))

    by_prompt, by_other = await drawn(prompt, None, 1.0), await drawn(other, None, 1.0)
    at_one, at_zero = await drawn(prompt, other, 1.0), await drawn(prompt, other, 0.0)
    tries = [
        expected == guided
        for expected, guided in zip(
            zip(by_prompt, by_other, strict=True), zip(at_one, at_zero, strict=True), strict=True
        )
        if expected[0] != expected[1]
    ]
    if not tries:
        raise EngineError("the LM writes the same codes whatever it is asked: are its weights whole?")
    if 2 * sum(tries) <= len(tries):
        drew = f"drew the right codes {sum(tries)} times of {len(tries)}"
        raise EngineError(f"the engine {drew}: its guidance is not active or wrong")


async def _tokens(backend: Backend, request: TokenRequest) -> list[int]:
    return [token async for new in backend.generate(request) for token in new]
