"""Songs that fail beside others: one is too long for the memory, one has an odd length, one hangs."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from configs.domain import Task
from deployments.common.errors import EngineError, JobError
from deployments.common.messages import DenoiseRequest
from deployments.generator.batcher import StepBatcher
from deployments.generator.engine import FinishedSong
from deployments.generator.lyrics.listener import HeardLyrics, LyricListener
from deployments.generator.stepping import listen
from deployments.generator.tasks import RecordingLatents
from tests.watched_engine import (
    CHANNELS,
    LONG,
    ROUNDING,
    SONG,
    UNLIMITED,
    WatchedEngine,
    changed,
    latents_alone,
    noise,
    run,
)


async def test_a_batch_that_does_not_fit_into_memory_is_halved_and_goes_on() -> None:
    engine = WatchedEngine("turbo")
    engine.memory = 800
    batcher = StepBatcher(engine, UNLIMITED)
    requests = [replace(SONG, frames=frames, seed=frames) for frames in (150, 250, 333, 77, 128, 40)]
    found = await asyncio.gather(*(run(batcher, request) for request in requests))
    assert max(len(songs) for songs in engine.forwards) > 1
    for request, (latents,) in zip(requests, found, strict=True):
        assert np.abs(latents - latents_alone("turbo", request)).max() <= ROUNDING


async def test_a_song_too_long_for_the_memory_fails_alone_and_says_so() -> None:
    engine = WatchedEngine("turbo")
    engine.memory = 800
    batcher = StepBatcher(engine, UNLIMITED)
    good, bad = await asyncio.gather(
        run(batcher, SONG), run(batcher, replace(SONG, frames=2000)), return_exceptions=True
    )
    assert np.abs(good[0] - latents_alone("turbo", SONG)).max() <= ROUNDING
    assert isinstance(bad, JobError)
    assert "memory" in str(bad)


async def test_a_song_that_finds_no_room_for_its_prompt_starts_when_memory_is_freed() -> None:
    engine = WatchedEngine("turbo")
    engine.full_starts = 1
    (latents,) = await run(StepBatcher(engine, UNLIMITED), SONG)
    assert engine.events[:3] == ["start", "start", "step"]
    assert np.abs(latents - latents_alone("turbo", SONG)).max() <= ROUNDING


async def test_a_song_that_never_finds_room_for_its_prompt_fails() -> None:
    engine = WatchedEngine("turbo")
    engine.full_starts = 2
    with pytest.raises(EngineError, match="memory is full"):
        await run(StepBatcher(engine, UNLIMITED), SONG)


async def test_a_song_that_the_model_cannot_do_fails_alone() -> None:
    engine = WatchedEngine("turbo")
    engine.refused = 77
    batcher = StepBatcher(engine, UNLIMITED)
    requests = [replace(SONG, frames=frames) for frames in (150, 77, 250, 40)]
    found = await asyncio.gather(*(run(batcher, request) for request in requests), return_exceptions=True)
    assert [isinstance(answer, ArithmeticError) for answer in found] == [False, True, False, False]


async def test_a_job_fails_with_its_first_failing_song() -> None:
    no_numbers = RecordingLatents(np.full((150, CHANNELS), np.nan, np.float32))
    engine = WatchedEngine("turbo")
    batcher = StepBatcher(engine, UNLIMITED)
    with pytest.raises(JobError):
        await run(batcher, SONG, replace(SONG, task=Task.COMPLETE), recordings=no_numbers)
    assert len(await run(batcher, SONG)) == 1


async def test_a_prompt_that_cannot_be_encoded_fails_its_job_only() -> None:
    batcher = StepBatcher(WatchedEngine("turbo"), UNLIMITED)
    good, bad = await asyncio.gather(
        run(batcher, SONG),
        run(batcher, SONG, recordings=RecordingLatents(reference=noise(750, 0)[:, :3])),
        return_exceptions=True,
    )
    assert len(good) == 1
    assert isinstance(bad, RuntimeError)


async def test_a_hanging_forward_is_noticed() -> None:
    engine = WatchedEngine("base")
    batcher = StepBatcher(engine, UNLIMITED)
    async with aclosing(batcher.run([LONG])) as news:
        await anext(news)
        engine.start_seconds = 0.2
        other = asyncio.create_task(run(batcher, SONG))
        await asyncio.sleep(0.1)
        batcher.check(stalled_seconds=60)
        with pytest.raises(RuntimeError, match="has been running"):
            batcher.check(stalled_seconds=0.0)
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


@pytest.mark.parametrize("failures", [1, 2])
async def test_attention_that_finds_no_room_is_tried_again_when_memory_is_freed(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    engine = WatchedEngine("turbo")
    listener = LyricListener(engine._transformer, ((1, 0),), engine.tokenizer)
    monkeypatch.setattr(engine, "_listener", listener)
    attend, left = engine._transformer.attention, iter(range(failures))

    def attention(*arguments: Any) -> list[torch.Tensor]:
        if next(left, None) is not None:
            raise torch.OutOfMemoryError("no room for the attention")
        return attend(*arguments)

    monkeypatch.setattr(engine._transformer, "attention", attention)
    song = finished(engine, changed(SONG, lyric_timestamps=True))
    heard = listen(engine, song)
    assert heard == "memory" if failures == 2 else isinstance(heard, HeardLyrics)
    assert np.array_equal(song.latents, latents_alone("turbo", SONG))


async def test_a_model_without_heads_for_lyrics_says_so() -> None:
    engine = WatchedEngine("turbo")
    assert listen(engine, finished(engine, changed(SONG, lyric_timestamps=True))) == "model"
    assert listen(engine, finished(engine, SONG)) is None


def finished(engine: WatchedEngine, request: DenoiseRequest) -> FinishedSong:
    song = engine.start(request)
    while not song.trajectory.done:
        engine.step([song])
    return engine.finish(song)
