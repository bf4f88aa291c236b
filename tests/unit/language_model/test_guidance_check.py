"""Despite rounding, the check at start accepts engines that guide and refuses those that do not.

The logits are made here, with far more rounding than was seen: between bfloat16 and float32 the embedded LM's
logits differ by 1.3 % of their deviation.
"""

from collections.abc import AsyncGenerator, Callable
from functools import partial

import numpy as np
import pytest

from deployments.checkpoints.location import EMBEDDED
from deployments.common.errors import EngineError
from deployments.language_model.backend import TokenRequest
from deployments.language_model.guidance_check import require_guided
from deployments.language_model.text.tokenizer import LMTokenizer

SEEDS = range(20)
DEVIATION = 3.0
Logits = np.ndarray
Guidance = Callable[[Logits, Logits, float], Logits]


def guided(conditional: Logits, unconditional: Logits, scale: float) -> Logits:
    return unconditional + np.float32(scale) * (conditional - unconditional)


def always_at_two(conditional: Logits, unconditional: Logits, _: float) -> Logits:
    return guided(conditional, unconditional, 2.0)


class Rounding:
    """An engine whose logits are those of two prompts, with the precision of bfloat16 and with noise."""

    def __init__(self, seed: int, noise: float, likeness: float, guidance: Guidance) -> None:
        """`noise` is in deviations; `likeness` is the correlation between the logits of the two prompts."""
        self._random = np.random.default_rng(seed)
        shared, *own = self._random.standard_normal((3, 64_000), np.float32) * DEVIATION
        self._own = [likeness**0.5 * shared + (1 - likeness) ** 0.5 * one for one in own]
        self._noise, self._guidance = noise * DEVIATION, guidance
        self._first = 0
        self._prompts: list[list[int]] = []
        self.capacity = 1_000

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        if not self._prompts:
            self._first = request.allowed.start
        prompts = [prompt for prompt in (request.prompt, request.unconditional_prompt) if prompt]
        rows = [self._logits(prompt, request) for prompt in prompts]
        logits = rows[0] if len(rows) == 1 else self._guidance(*rows, request.sampling.cfg_scale)
        yield [request.allowed.start + int(logits.argmax())]

    def _logits(self, prompt: list[int], request: TokenRequest) -> Logits:
        if prompt not in self._prompts:
            self._prompts.append(prompt)
        exact = self._own[self._prompts.index(prompt)]
        part = exact[request.allowed.start - self._first : request.allowed.stop - self._first]
        noisy = part + self._noise * self._random.standard_normal(len(part), np.float32)
        # The values are rounded to eight bits of precision, as bfloat16 has.
        return (noisy.view(np.uint32) + 0x8000 & 0xFFFF0000).view(np.float32)

    async def check_health(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def tokenizer() -> LMTokenizer:
    return LMTokenizer.from_folder(EMBEDDED / "acestep-5Hz-lm-0.6B")


async def is_accepted(tokenizer: LMTokenizer, engine: Rounding) -> bool:
    try:
        await require_guided(engine, tokenizer)
    except EngineError:
        return False
    return True


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("likeness", [0.0, 0.5, 0.9])
async def test_an_engine_that_guides_is_never_refused(
    tokenizer: LMTokenizer, noise: float, likeness: float
) -> None:
    engines = [Rounding(seed, noise, likeness, guided) for seed in SEEDS]
    assert all([await is_accepted(tokenizer, engine) for engine in engines])


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize(
    "guidance",
    [
        lambda conditional, _, __: conditional,
        lambda _, unconditional, __: unconditional,
        lambda conditional, unconditional, scale: guided(unconditional, conditional, scale),
        always_at_two,
    ],
    ids=["ignores the other prompt", "ignores the prompt", "swaps them", "ignores the scale"],
)
@pytest.mark.parametrize("likeness", [0.0, 0.5])
async def test_an_engine_that_does_not_guide_is_never_accepted(
    tokenizer: LMTokenizer, noise: float, guidance: Guidance, likeness: float
) -> None:
    make = partial(Rounding, noise=noise, likeness=likeness, guidance=guidance)
    assert not any([await is_accepted(tokenizer, make(seed)) for seed in SEEDS])
