"""Proof at start that an engine guides.

Guided logits are `u + scale * (c - u)`: at scale 1 those of the prompt, c, at scale 0 those of the other
prompt, u. So a guided run must draw what each prompt alone makes the engine draw. An engine that ignores the
other prompt or the scale draws the same at both.

Rounding decides some draws: the same prompt has slightly other logits in another batch, and in bfloat16 two
tokens often have the very same. So a wrong draw shows nothing; that hardly any is right shows a fault.
"""

import asyncio
from dataclasses import dataclass

from deployments.common.errors import EngineError
from deployments.common.messages import Sampling
from deployments.language_model.backend import Backend, TokenRequest
from deployments.language_model.text.prompts import compose_prompt, plan_prompt
from deployments.language_model.text.tokenizer import LMTokenizer

_PARTS = 24
"""Of the codebook. The engine draws a code from each."""
_ROUND = 8
"""Parts that are tried at once; the first ones nearly always suffice."""


@dataclass
class _Tally:
    """Of the parts in which the two prompts alone draw different codes."""

    parts: int = 0
    like_prompt: int = 0
    """Right draws at scale 1."""
    like_other: int = 0
    """Right draws at scale 0."""

    @property
    def right(self) -> int:
        """Right draws at the scale at which fewer are."""
        return min(self.like_prompt, self.like_other)


async def require_guided(backend: Backend, tokenizer: LMTokenizer) -> None:
    """Raises EngineError unless the guided runs of `backend` follow both prompts and the scale.

    More than half of the draws right, at both scales, is enough at any time; in the end more than a quarter.
    With a fault hardly any is; without one more than half are, even if rounding decided every third draw.
    """
    prompt = tokenizer.encode(compose_prompt("An upbeat pop song", "[Instrumental]", "bpm: 120"))
    other = tokenizer.encode(plan_prompt("", ""))
    size = len(tokenizer.code_ids) // _PARTS
    parts = [tokenizer.code_ids[start : start + size] for start in range(0, size * _PARTS, size)]

    async def drawn(
        allowed: list[range], prompt: list[int], other: list[int] | None, scale: float
    ) -> list[list[int]]:
        """The tokens of a greedy run of one token from each part."""
        sampling = Sampling(0, temperature=0.0, cfg_scale=scale)
        requests = [TokenRequest(prompt, other, sampling, part, max_tokens=1) for part in allowed]
        return await asyncio.gather(*(_tokens(backend, request) for request in requests))

    tally = _Tally()
    for first in range(0, _PARTS, _ROUND):
        # Not neighbours: those have more in common.
        allowed = parts[first // _ROUND :: _PARTS // _ROUND]
        by_prompt, by_other = await drawn(allowed, prompt, None, 1.0), await drawn(allowed, other, None, 1.0)
        at_one, at_zero = await drawn(allowed, prompt, other, 1.0), await drawn(allowed, prompt, other, 0.0)
        for alone, alone_other, one, zero in zip(by_prompt, by_other, at_one, at_zero, strict=True):
            if alone != alone_other:
                tally.parts += 1
                tally.like_prompt += one == alone
                tally.like_other += zero == alone_other
        if 2 * tally.right > tally.parts:
            return
    if not tally.parts:
        raise EngineError("the LM writes the same codes whatever it is asked: are its weights whole?")
    if 4 * tally.right <= tally.parts:
        raise EngineError(
            f"of {tally.parts} codes the engine drew {tally.like_prompt} right at guidance scale 1 and "
            f"{tally.like_other} at scale 0: its guidance is not active or wrong"
        )


async def _tokens(backend: Backend, request: TokenRequest) -> list[int]:
    return [token async for new in backend.generate(request) for token in new]
