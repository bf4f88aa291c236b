"""A check at the start that an engine applies classifier-free guidance.

Guided logits are `u + scale * (c - u)`: at scale 1 they equal the logits c of the prompt, at scale 0 the
logits u of the unconditional prompt. So a guided run must draw the tokens that each prompt alone would draw.
An engine that ignores the unconditional prompt or the scale draws the same tokens at both scales.

Rounding decides some draws: the logits of a prompt differ slightly between batches, and in bfloat16 two
tokens often have equal logits. So a single wrong draw proves nothing, but a fault makes nearly all draws
wrong.
"""

import asyncio
from dataclasses import dataclass

from deployments.common.errors import EngineError
from deployments.common.messages import Sampling
from deployments.language_model.backend import Backend, TokenRequest
from deployments.language_model.text.prompts import compose_prompt, plan_prompt
from deployments.language_model.text.tokenizer import LMTokenizer

_PARTS = 24
"""Number of parts into which the codebook is divided. The engine draws one code from each part."""
_ROUND = 8
"""Number of parts that are tried at once. The first round nearly always suffices."""


@dataclass
class _Tally:
    """Counts over the parts in which the two prompts alone draw different codes."""

    parts: int = 0
    like_prompt: int = 0
    """Right draws at scale 1."""
    like_other: int = 0
    """Right draws at scale 0."""

    @property
    def right(self) -> int:
        """The smaller of the two numbers of right draws."""
        return min(self.like_prompt, self.like_other)


async def require_guided(backend: Backend, tokenizer: LMTokenizer) -> None:
    """Raises EngineError unless the guided runs of `backend` follow both prompts and the scale.

    After each round it is enough if more than half of the draws are right at both scales, and after the last
    if more than a quarter are. With a fault hardly any are; without one more than half are, even if rounding
    decides every third draw.
    """
    prompt = tokenizer.encode(compose_prompt("An upbeat pop song", "[Instrumental]", "bpm: 120"))
    other = tokenizer.encode(plan_prompt("", ""))
    size = len(tokenizer.code_ids) // _PARTS
    parts = [tokenizer.code_ids[start : start + size] for start in range(0, size * _PARTS, size)]

    async def drawn(
        allowed: list[range], prompt: list[int], other: list[int] | None, scale: float
    ) -> list[list[int]]:
        """Run the LM greedily for one token from each of the `allowed` ranges."""
        sampling = Sampling(0, temperature=0.0, cfg_scale=scale)
        requests = [TokenRequest(prompt, other, sampling, part, max_tokens=1) for part in allowed]
        return await asyncio.gather(*(_tokens(backend, request) for request in requests))

    tally = _Tally()
    for first in range(0, _PARTS, _ROUND):
        # A round takes parts that are far apart, because neighbouring codes have more in common.
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
