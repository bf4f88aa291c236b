"""The check at start accepts an engine that guides and refuses one that does not."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from deployments.common.errors import EngineError
from deployments.language_model.backend import Backend, TokenRequest
from deployments.language_model.engine import LanguageModelEngine
from deployments.language_model.guidance_check import require_guided
from deployments.language_model.text.tokenizer import LMTokenizer


@pytest.fixture(params=["vllm", "pt"])
async def backend(request: pytest.FixtureRequest, engine: LanguageModelEngine) -> Backend:
    return await engine._running(request.param)


class Faulty:
    """A real engine that treats guided runs wrongly."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @abstractmethod
    def seen(self, request: TokenRequest) -> TokenRequest:
        """Return the request that the engine runs in place of a guided one."""

    def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        is_guided = request.unconditional_prompt is not None
        return self._backend.generate(self.seen(request) if is_guided else request)


class IgnoresTheOtherPrompt(Faulty):
    def seen(self, request: TokenRequest) -> TokenRequest:
        return replace(request, unconditional_prompt=None)


class IgnoresTheScale(Faulty):
    def seen(self, request: TokenRequest) -> TokenRequest:
        return replace(request, sampling=replace(request.sampling, cfg_scale=2.0))


class SwapsThePrompts(Faulty):
    def seen(self, request: TokenRequest) -> TokenRequest:
        assert request.unconditional_prompt is not None
        return replace(request, prompt=request.unconditional_prompt, unconditional_prompt=request.prompt)


class WritesNothing(Faulty):
    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        # Only guided runs fail.
        if request.unconditional_prompt is None:
            async for tokens in self._backend.generate(request):
                yield tokens


class ReadsNoPrompt(Faulty):
    def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        return self._backend.generate(replace(request, prompt=[1], unconditional_prompt=None))


async def test_an_engine_that_guides_is_accepted(backend: Backend, tokenizer: LMTokenizer) -> None:
    await require_guided(backend, tokenizer)


@pytest.mark.parametrize(
    "fault",
    [IgnoresTheOtherPrompt, IgnoresTheScale, SwapsThePrompts, WritesNothing],
    ids=lambda one: one.__name__,
)
async def test_an_engine_that_does_not_guide_is_refused(
    backend: Backend, tokenizer: LMTokenizer, fault: type[Faulty]
) -> None:
    with pytest.raises(EngineError, match="not active or wrong"):
        await require_guided(fault(backend), tokenizer)


async def test_an_engine_that_writes_the_same_whatever_it_is_asked_is_refused(
    backend: Backend, tokenizer: LMTokenizer
) -> None:
    with pytest.raises(EngineError, match="whatever it is asked"):
        await require_guided(ReadsNoPrompt(backend), tokenizer)
