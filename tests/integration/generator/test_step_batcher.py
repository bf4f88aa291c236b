"""Many songs step together, on the random checkpoints of the parity data (turbo, base, XL)."""

import asyncio
import random
from contextlib import aclosing
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from configs.domain import INSTRUCTIONS, Task
from deployments.common.messages import (
    CorrectionMode,
    DenoiseRequest,
    DiffusionOptions,
    Progress,
    RepaintMode,
    Retake,
    Wavelet,
    Window,
)
from deployments.generator.batcher import StepBatcher
from deployments.generator.measurements import Forward
from deployments.generator.tasks import RecordingLatents
from tests.recording_share import RecordingShare
from tests.watched_engine import (
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


def any_job(rng: random.Random) -> tuple[DenoiseRequest, RecordingLatents]:
    """Return a song with any length, task, prompt, schedule and guidance, with or without recordings."""
    frames = rng.choice([1, 40, 77, 128, 150, 150, 151, 250, 333, 500])
    task = rng.choice([*Task])
    start = rng.randrange(frames)
    recordings = RecordingLatents(
        source=noise(frames, rng.randrange(1000)) if task is not Task.TEXT2MUSIC else None,
        reference=noise(750, rng.randrange(1000)) if rng.random() < 0.3 else None,
    )
    request = replace(
        SONG,
        task=task,
        instruction=INSTRUCTIONS[task],
        caption="warm " * rng.randint(1, 40),
        lyrics="la " * rng.randint(1, 120),
        frames=frames,
        seed=rng.randrange(1000),
        codes=tuple(rng.randrange(64_000) for _ in range(max(1, frames // 5)))
        if rng.random() < 0.2
        else None,
        window=Window(start, rng.randint(start + 1, frames)),
        retake=Retake(rng.randrange(1000), rng.random()) if rng.random() < 0.2 else None,
        options=DiffusionOptions(
            inference_steps=rng.randint(1, 12),
            guidance_scale=rng.choice([1.0, 3.0, 7.0]),
            audio_cover_strength=rng.choice([0.0, 0.5, 1.0]),
            shift=rng.choice([None, 1.0, 2.0]),
            infer_method=rng.choice(["ode", "sde"]),
            use_adg=rng.random() < 0.3,
            cfg_interval_start=rng.choice([0.0, 0.3]),
            cfg_interval_end=rng.choice([0.8, 1.0]),
            cover_noise_strength=rng.choice([0.0, 0.4]),
            repaint_mode=RepaintMode(rng.random(), rng.randrange(20), None),
            sampling=rng.choice(["2026-01", "2026-08"]),
            sampler_mode=rng.choice(["euler", "heun"]),
            velocity_norm_threshold=rng.choice([0.0, 0.8]),
            velocity_ema_factor=rng.choice([0.0, 0.2]),
            dcw_enabled=rng.choice([None, False, True]),
            dcw_mode=rng.choice(get_args(CorrectionMode)),
            dcw_wavelet=rng.choice(get_args(Wavelet)),
            latent_rescale=rng.choice([1.0, 0.5]),
            cover_nofsq=rng.random() < 0.2,
        ),
    )
    return request, recordings


@pytest.mark.parametrize(
    ("variant", "tokens_per_forward"),
    [
        ("turbo", 1500),
        ("base", UNLIMITED),
        pytest.param("turbo", UNLIMITED, marks=pytest.mark.slow),
        pytest.param("base", 1500, marks=pytest.mark.slow),
        pytest.param("xl-turbo", 1500, marks=pytest.mark.slow),
        pytest.param("xl-turbo", UNLIMITED, marks=pytest.mark.slow),
    ],
)
async def test_24_mixed_jobs_together_make_what_each_makes_alone(
    variant: str, tokens_per_forward: int
) -> None:
    rng = random.Random(variant)
    jobs = [any_job(rng) for _ in range(24)]
    engine = WatchedEngine(variant)
    batcher = StepBatcher(engine, tokens_per_forward)
    together = await asyncio.gather(
        *(run(batcher, request, recordings=recordings) for request, recordings in jobs)
    )
    assert max(len(songs) for songs in engine.forwards) > 3
    for (request, recordings), (latents,) in zip(jobs, together, strict=True):
        assert np.abs(latents - latents_alone(variant, request, recordings)).max() <= ROUNDING


@pytest.mark.parametrize("earlier_steps", [1, 4, 7])
async def test_a_song_does_not_depend_on_when_it_joins(earlier_steps: int) -> None:
    batcher = StepBatcher(WatchedEngine("turbo"), UNLIMITED)
    others = [replace(SONG, frames=frames, seed=frames) for frames in (333, 250)]
    async with aclosing(batcher.run(others)) as running:
        for _ in range(len(others) * earlier_steps):
            await anext(running)
        (latents,) = await run(batcher, SONG)
    assert np.abs(latents - latents_alone("turbo", SONG)).max() <= ROUNDING


async def test_a_job_alone_makes_the_same_latents_to_the_last_bit() -> None:
    songs = [replace(SONG, frames=frames, seed=frames) for frames in (150, 150, 250)]
    # The limit lets two songs step at a time.
    batcher = StepBatcher(WatchedEngine("turbo"), tokens_per_forward=500)
    first, second = await run(batcher, *songs), await run(batcher, *songs)
    assert all(map(np.array_equal, first, second))


async def test_each_forward_is_told_with_what_it_held_and_had_room_for() -> None:
    told: list[Forward] = []
    engine = WatchedEngine("turbo")
    even, odd, long = (replace(SONG, frames=frames, seed=frames) for frames in (150, 151, 500))
    await run(StepBatcher(engine, tokens_per_forward=200, on_forward=told.append), even, odd, long)
    sizes = {
        (forward.songs, forward.tokens, forward.token_slots, forward.frames, forward.padding_frames)
        for forward in told
    }
    assert sizes == {
        (2, 75 + 76, 200, 150 + 152, 1),
        (1, 250, 250, 500, 0),  # This song is longer than a forward and steps alone.
    }
    assert len(told) == len(engine.forwards) == 16
    assert all(forward.seconds > 0 for forward in told)


async def test_guided_songs_count_twice_while_guidance_acts() -> None:
    told: list[Forward] = []
    request = changed(SONG, guidance_scale=7.0, inference_steps=10, cfg_interval_start=0.5)
    await run(StepBatcher(WatchedEngine("base"), UNLIMITED, on_forward=told.append), request)
    tokens = [forward.tokens for forward in told]
    assert tokens == sorted(tokens, reverse=True)
    assert set(tokens) == {75, 150}


async def test_the_songs_of_a_job_start_together_beside_running_ones() -> None:
    engine = WatchedEngine("base")
    # Preparing takes longer than a step, so the songs are not all prepared between two steps.
    engine.start_seconds = 0.02
    batcher = StepBatcher(engine, UNLIMITED)
    async with aclosing(batcher.run([LONG])) as running:
        await anext(running)
        await run(
            batcher, *[replace(changed(SONG, inference_steps=2), frames=frames) for frames in (77, 78, 79)]
        )
    sizes = [len(songs) for songs in engine.forwards]
    assert set(sizes) == {1, 4}


async def test_running_songs_step_between_the_preparations_of_new_ones() -> None:
    engine = WatchedEngine("base")
    batcher = StepBatcher(engine, UNLIMITED)
    async with aclosing(batcher.run([LONG])) as running:
        await anext(running)
        engine.start_seconds = 0.05
        engine.events.clear()
        await asyncio.gather(*(run(batcher, changed(SONG, inference_steps=1)) for _ in range(4)))
    assert engine.events.count("start") == 4
    assert "start start" not in " ".join(engine.events)


async def test_a_tick_takes_no_more_tokens_than_allowed_and_short_songs_stay_together() -> None:
    engine = WatchedEngine("turbo")
    batcher = StepBatcher(engine, tokens_per_forward=600)
    frames = [1500, *[150] * 9]
    await asyncio.gather(*(run(batcher, replace(SONG, frames=n, seed=n)) for n in frames))
    assert max(len(songs) for songs in engine.forwards) > 1
    for songs, tokens in zip(engine.forwards, engine.tokens_of_forwards, strict=True):
        assert len(songs) == 1 or tokens <= 600
    long_steps = [i for i, songs in enumerate(engine.forwards) if songs[0].trajectory.frames == 1500]
    short_steps = [i for i, songs in enumerate(engine.forwards) if songs[0].trajectory.frames == 150]
    assert len(long_steps) == 8
    # The long song came first but takes as much as all others together. It steps while it is alone, and after
    # them.
    assert sum(step < max(short_steps) for step in long_steps) <= 1


async def test_short_songs_overtake_a_long_one_until_it_is_due() -> None:
    engine = WatchedEngine("turbo")
    batcher = StepBatcher(engine, tokens_per_forward=100)
    finished: list[str] = []

    async def make(name: str, frames: int) -> None:
        await run(batcher, replace(SONG, frames=frames, seed=frames))
        finished.append(name)

    async def short_ones() -> None:
        for number in range(8):
            await make(f"short {number}", 150)

    await asyncio.gather(make("long", 600), short_ones())
    # The long song takes four times as much, and steps while the next short one is being prepared.
    assert 1 <= finished.index("long") <= 3


@pytest.mark.parametrize(("pause", "told"), [(0.0, [0, 1, 2, 3, 4, 5]), (1e6, [0, 1, 5])])
async def test_progress_is_told_at_a_bounded_rate_and_at_the_end(pause: float, told: list[int]) -> None:
    batcher = StepBatcher(WatchedEngine("base"), UNLIMITED, progress_seconds=pause)
    async with aclosing(batcher.run([changed(SONG, inference_steps=5)])) as news:
        steps = [answer.done async for _, answer in news if isinstance(answer, Progress)]
    assert steps == told


async def test_a_job_cancelled_at_step_3_of_50_stops_within_a_step_and_the_next_one_starts() -> None:
    engine = WatchedEngine("base")
    batcher = StepBatcher(engine, UNLIMITED)
    async with aclosing(batcher.run([LONG])) as news:
        async for _, answer in news:
            assert isinstance(answer, Progress)
            assert answer.total == 50
            if answer.done == 3:
                break
    (cancelled,) = engine.forwards[0]
    await run(batcher, changed(SONG, inference_steps=2))
    assert cancelled.trajectory.step <= 4
    assert engine.forwards[-1] != [cancelled]
    batcher.check(stalled_seconds=60)


async def test_each_forward_takes_its_share_of_the_cores_and_none_is_kept() -> None:
    share = RecordingShare()
    engine = WatchedEngine("turbo")
    await run(StepBatcher(engine, UNLIMITED, share=share), SONG, LONG)
    assert share.said == ["threads"] * len(engine.events) + ["release"]
