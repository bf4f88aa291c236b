"""Guided pairs on vLLM give the tokens of a plain transformers loop on the same weights."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from configs.settings import LanguageModelSettings
from deployments.common.errors import EngineError
from deployments.common.messages import Sampling
from deployments.language_model.backend import TokenRequest
from deployments.language_model.text.prompts import compose_prompt, plan_prompt, unconditional_compose_prompt
from deployments.language_model.text.tokenizer import LMTokenizer
from deployments.language_model.vllm_engine.backend import VLLMBackend
from tests.integration.language_model.asynchronous_cpu import asynchronous_on_cpu
from tests.integration.language_model.reference import Reference

WORDS = (
    "dreamers",
    "rain",
    "we",
    "walk",
    "empty",
    "street",
    "calm",
    "piano",
    "bright",
    "drums",
    "oh",
    "la",
    "yeah",
)
# The model has one thread, because threads of so small a model only wait for each other on a busy machine.
ROOMY = LanguageModelSettings(max_model_len=2048, threads=1)
# There is room for about six pairs at a kilobyte a token, so most pairs wait.
TIGHT = LanguageModelSettings(max_model_len=1024, threads=1, max_num_seqs=16, kv_cache_bytes=1152 << 10)

MOST_WAKE_UPS = 50
"""Wake-ups in a second. Each of vLLM's process groups alone would cause twice as many."""


@pytest_asyncio.fixture(
    scope="module",
    params=[
        pytest.param((ROOMY, True, False), id="roomy", marks=pytest.mark.slow),
        pytest.param((TIGHT, True, False), id="tight"),
        pytest.param((TIGHT, False, False), id="tight without prefix cache", marks=pytest.mark.slow),
        pytest.param((TIGHT, True, True), id="tight and asynchronous"),
    ],
)
async def backend(
    request: pytest.FixtureRequest, checkpoint: Path, tokenizer: LMTokenizer, other_threads: frozenset[str]
) -> AsyncIterator[VLLMBackend]:
    del other_threads  # These are the threads that existed before.
    settings, prefix_caching, asynchronous = request.param
    with ExitStack() as stack:
        if asynchronous:
            stack.enter_context(asynchronous_on_cpu())
        backend = VLLMBackend(checkpoint, tokenizer, settings, prefix_caching, asynchronous=asynchronous)
        assert (backend._engine.engine_core.engine_core.batch_queue is not None) == asynchronous
        yield backend
        backend.close()


@pytest.fixture(scope="module")
def other_threads() -> frozenset[str]:
    """Return the ids of the threads that this process has for other tests."""
    return frozenset(thread.name for thread in Path("/proc/self/task").iterdir())


def song(tokenizer: LMTokenizer, rng: random.Random, guided: bool = True) -> TokenRequest:
    caption = " ".join(rng.choices(WORDS, k=rng.randint(1, 12)))
    lyrics = " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))
    negative = rng.choice(["", "NO USER INPUT", " ".join(rng.choices(WORDS, k=rng.randint(1, 30)))])
    sampling = Sampling(
        seed=rng.randrange(2**32),
        temperature=rng.choice([0.0, 0.0, 0.85, 1.3]),
        top_k=rng.choice([0, 0, 40]),
        top_p=rng.choice([0.9, 1.0]),
        repetition_penalty=rng.choice([1.0, 1.0, 1.2]),
        cfg_scale=rng.uniform(1.5, 4.5),
    )
    return TokenRequest(
        prompt=tokenizer.encode(compose_prompt(caption, lyrics, "bpm: 120")),
        unconditional_prompt=tokenizer.encode(unconditional_compose_prompt(negative)) if guided else None,
        sampling=sampling,
        allowed=tokenizer.code_ids,
        max_tokens=rng.randint(1, 25),
    )


def metadata(tokenizer: LMTokenizer, rng: random.Random) -> TokenRequest:
    prompt = tokenizer.encode(plan_prompt(" ".join(rng.choices(WORDS, k=5)), "[Instrumental]", "\nbpm:"))
    return TokenRequest(
        prompt,
        None,
        Sampling(seed=rng.randrange(99)),
        tokenizer.text_ids,
        20,
        regex=r" [0-9]+\ntimesignature: [2346]\n",
    )


async def tokens_of(backend: VLLMBackend, request: TokenRequest, delay: float = 0.0) -> list[int]:
    await asyncio.sleep(delay)
    return [token async for tokens in backend.generate(request) for token in tokens]


async def abort(backend: VLLMBackend, request: TokenRequest, delay: float) -> None:
    await asyncio.sleep(delay)
    async with aclosing(backend.generate(request)) as answers:
        async for _ in answers:
            return


async def test_pairs_write_what_a_plain_loop_writes(
    backend: VLLMBackend, checkpoint: Path, tokenizer: LMTokenizer
) -> None:
    rng = random.Random(7)
    guided = [song(tokenizer, rng) for _ in range(48)]
    unguided = [song(tokenizer, rng, guided=False) for _ in range(8)]
    others = [abort(backend, song(tokenizer, rng), rng.uniform(0, 3)) for _ in range(8)]
    others += [tokens_of(backend, metadata(tokenizer, rng), rng.uniform(0, 3)) for _ in range(8)]
    songs = [tokens_of(backend, request, rng.uniform(0, 3)) for request in guided + unguided]
    written, *_ = await asyncio.gather(asyncio.gather(*songs), *others)
    reference = Reference.load(checkpoint)
    disagreements = [
        found
        for request, tokens in zip(guided + unguided, written, strict=True)
        if (found := reference.disagreement(request, tokens))
    ]
    assert disagreements == []


async def test_a_pair_that_the_engine_can_never_hold_is_an_error(
    tokenizer: LMTokenizer, backend: VLLMBackend
) -> None:
    limit = backend.capacity // 2
    words = " ".join(WORDS * 200)
    prompt = tokenizer.encode(compose_prompt(words, "", ""))[: min(limit, 900)]
    request = TokenRequest(prompt, prompt, Sampling(seed=0, cfg_scale=2.0), tokenizer.code_ids, 100)
    if len(prompt) + 100 > limit:
        with pytest.raises(EngineError, match="error"):
            await tokens_of(backend, request)
    else:
        assert len(await tokens_of(backend, request)) == 100


async def test_an_engine_without_work_sleeps(
    backend: VLLMBackend, tokenizer: LMTokenizer, other_threads: frozenset[str]
) -> None:
    await tokens_of(backend, song(tokenizer, random.Random(0)))
    await asyncio.sleep(1)
    before = times_woken(other_threads)
    await asyncio.sleep(1)
    assert times_woken(other_threads) - before < MOST_WAKE_UPS


def times_woken(others: frozenset[str]) -> int:
    """Return how often the threads of this process, without `others`, have woken up since they began."""
    field = "\nvoluntary_ctxt_switches:"
    threads = [thread for thread in Path("/proc/self/task").iterdir() if thread.name not in others]
    statuses = [(thread / "status").read_text() for thread in threads]
    return sum(int(status.partition(field)[2].split()[0]) for status in statuses)


async def test_a_failed_step_ends_the_engine_and_all_its_runs(
    checkpoint: Path, tokenizer: LMTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = VLLMBackend(checkpoint, tokenizer, TIGHT)
    try:
        await backend.check_health()
        request = song(tokenizer, random.Random(1))
        assert len(await tokens_of(backend, request)) == request.max_tokens

        def fail() -> None:
            raise RuntimeError("the device is lost")

        monkeypatch.setattr(backend._engine, "step", fail)
        runs = [tokens_of(backend, request) for _ in range(3)]
        for outcome in await asyncio.gather(*runs, return_exceptions=True):
            assert isinstance(outcome, EngineError)
            assert "the device is lost" in str(outcome)
        backend._ended.wait(60)
        with pytest.raises(EngineError, match="dead"):
            await backend.check_health()
        with pytest.raises(EngineError, match="dead"):
            await tokens_of(backend, request)
    finally:
        backend.close()
