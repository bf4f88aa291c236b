"""The reports of the engines about their work, on both backends."""

import asyncio
from dataclasses import replace

import pytest

from configs.settings import LanguageModelSettings
from deployments.common.messages import AudioCodes, ComposeRequest, Metadata, Sampling
from deployments.language_model.engine import LanguageModelEngine
from tests.integration.language_model.conftest import Listener

SONG = ComposeRequest(
    caption="An upbeat pop song",
    lyrics="[Instrumental]",
    metadata=Metadata(120, "C major", "4", 4.0),
    code_count=20,
    sampling=Sampling(seed=1, temperature=0.0),
)
SLOTS = LanguageModelSettings().max_num_seqs


async def compose(engine: LanguageModelEngine, request: ComposeRequest) -> None:
    async for answer in engine.compose(request):
        last = answer
    assert isinstance(last, AudioCodes)


@pytest.mark.parametrize("backend", ["vllm", "pt"])
@pytest.mark.parametrize(("cfg_scale", "rows"), [(1.0, 1), (2.0, 2)])
async def test_a_run_is_told_with_its_tokens_and_the_rows_of_every_step(
    engine: LanguageModelEngine, listener: Listener, backend: str, cfg_scale: float, rows: int
) -> None:
    await compose(engine, replace(SONG, backend=backend))  # A backend is checked when it is first named.
    listener.clear()
    sampling = replace(SONG.sampling, cfg_scale=cfg_scale)
    await compose(engine, replace(SONG, backend=backend, sampling=sampling))
    assert listener.guided == [cfg_scale > 1]
    assert listener.tokens == 20
    assert listener.steps == [(rows, SLOTS)] * 20


@pytest.mark.parametrize("backend", ["vllm", "pt"])
async def test_runs_that_share_steps_are_counted_row_by_row(
    engine: LanguageModelEngine, listener: Listener, backend: str
) -> None:
    await compose(engine, replace(SONG, backend=backend))
    listener.clear()
    guided = replace(SONG, backend=backend, sampling=replace(SONG.sampling, cfg_scale=2.0))
    plain = replace(SONG, backend=backend)
    await asyncio.gather(compose(engine, guided), compose(engine, plain))
    assert listener.tokens == 40
    assert sum(rows for rows, _ in listener.steps) == 60
    assert max(rows for rows, _ in listener.steps) == 3
