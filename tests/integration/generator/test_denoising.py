"""The Generator on the tiny checkpoint, as the pipeline calls it."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from configs.domain import INSTRUCTIONS, INSTRUMENTAL, Task, latent_frames
from configs.settings import GeneratorSettings, ModelSettings, Settings
from deployments.common.errors import JobError
from deployments.common.latents_store import Latents
from deployments.common.messages import (
    DenoisedLatents,
    DenoiseRequest,
    DiffusionOptions,
    Metadata,
    Progress,
    RecordingRefs,
    Retake,
    Window,
)
from deployments.generator.deployment import Generator
from tests.latents import HeldLatents, HeldLatentsStore
from tests.watched_engine import CHANNELS, SONG, changed, noise


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    models = ModelSettings(source="random", folder=tmp_path_factory.mktemp("models"))
    settings = Settings(models=models, generator=GeneratorSettings(threads=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deployments.generator.deployment._PROGRESS_SECONDS", 0.0)  # Every step is reported.
        patch.setattr("deployments.generator.deployment.LatentsStore", HeldLatentsStore)
        return Generator.func_or_class(settings, models.dits[0])  # Serve runs this class in a replica.


async def latents(generator: Generator, request: DenoiseRequest, **recordings: Latents | None) -> Latents:
    return await (await answer(generator, request, **recordings)).latents.read()


async def answer(
    generator: Generator, request: DenoiseRequest, **recordings: Latents | None
) -> DenoisedLatents:
    refs = {name: None if held is None else HeldLatents(held) for name, held in recordings.items()}
    async with aclosing(generator.denoise((request,), RecordingRefs(**refs))) as stream:
        *progress, result = [answer async for item, answer in stream if item == 0]
    assert isinstance(result, DenoisedLatents)
    steps = result.used.steps
    assert progress == [Progress("denoising", step, steps) for step in range(steps + 1)]
    return result


async def same(
    generator: Generator, left: DenoiseRequest, right: DenoiseRequest, **recordings: Latents | None
) -> bool:
    """Tell whether both make the same latents; only the second request has recordings."""
    return np.array_equal(await latents(generator, left), await latents(generator, right, **recordings))


async def changes_nothing(generator: Generator, changes: dict[str, Any]) -> bool:
    """Tell whether SONG stays the same with other fields and recordings."""
    recordings = {name: changes[name] for name in ("source", "reference") if name in changes}
    fields = {name: value for name, value in changes.items() if name not in recordings}
    return await same(generator, SONG, replace(SONG, **fields), **recordings)


async def test_a_song_has_the_asked_frames_and_says_how_it_was_made(generator: Generator) -> None:
    result = await answer(generator, changed(SONG, inference_steps=50, guidance_scale=7.0))
    found, used = await result.latents.read(), result.used
    assert (found.shape, found.dtype) == ((150, CHANNELS), np.float32)
    assert (used.steps, used.guidance_scale, used.truncated) == (20, None, ())


@pytest.mark.parametrize("seconds", [0.5, 5.12, 5.16, 16.9, 32.5, 40.5])
async def test_any_length_comes_out_as_asked(generator: Generator, seconds: float) -> None:
    frames = latent_frames(seconds)
    assert (await latents(generator, replace(SONG, frames=frames))).shape == (frames, CHANNELS)


async def test_the_seed_decides_everything(generator: Generator) -> None:
    assert await same(generator, SONG, SONG)
    assert not await same(generator, SONG, replace(SONG, seed=8))
    stochastic = changed(SONG, infer_method="sde")
    assert await same(generator, stochastic, stochastic)
    assert not await same(generator, SONG, stochastic)


@pytest.mark.parametrize(
    "change",
    [
        {"caption": "loud metal"},
        {"lyrics": "[Instrumental]"},
        {"language": "de"},
        {"metadata": Metadata(bpm=180)},
        {"instruction": "Play it backwards"},
        {"codes": tuple(range(0, 3000, 100))},
        {"reference": noise(750, seed=3)},
        {"task": Task.COVER, "source": noise(150, seed=3)},
        {"task": Task.REPAINT, "source": noise(150, seed=3), "window": Window(50, 100)},
        {"retake": Retake(8, 0.2)},
        {"options": DiffusionOptions(shift=1.0)},
        {"options": DiffusionOptions(inference_steps=7)},
        {"options": DiffusionOptions(dcw_enabled=False)},
        {"options": DiffusionOptions(sampler_mode="heun")},
        {"options": DiffusionOptions(latent_shift=0.1)},
    ],
)
async def test_every_condition_is_heard(generator: Generator, change: dict[str, object]) -> None:
    assert not await changes_nothing(generator, change)


@pytest.mark.parametrize(
    "change",
    [
        {"task": Task.COVER, "source": None},
        {"options": DiffusionOptions(audio_cover_strength=0.0)},
        {"options": DiffusionOptions(cover_nofsq=True)},
        {"retake": Retake(8, 0.0)},
        {"window": Window(50, 100)},
        {"source": noise(150, seed=3)},
    ],
)
async def test_what_a_task_does_not_use_changes_nothing(
    generator: Generator, change: dict[str, object]
) -> None:
    assert await changes_nothing(generator, change)


async def test_codes_win_over_the_source(generator: Generator) -> None:
    coded = replace(SONG, task=Task.COVER, codes=(1, 2, 3), instruction=INSTRUCTIONS[Task.COVER])
    assert await same(generator, coded, coded, source=noise(150, seed=3))


@pytest.mark.parametrize("strength", [0.0, 0.5])
async def test_cover_strength_fades_the_source(generator: Generator, strength: float) -> None:
    cover, source = replace(SONG, task=Task.COVER, instruction=INSTRUCTIONS[Task.COVER]), noise(150, seed=3)
    whole = await latents(generator, cover, source=source)
    faded = await latents(generator, changed(cover, audio_cover_strength=strength), source=source)
    assert not np.array_equal(whole, faded)


@pytest.mark.parametrize("frames", [40, 150, 500])
async def test_sources_and_codes_of_any_length_fit_the_song(generator: Generator, frames: int) -> None:
    for task in (Task.COVER, Task.REPAINT, Task.LEGO, Task.EXTRACT, Task.COMPLETE):
        request = replace(SONG, task=task, window=Window(20, 400))
        found = await latents(generator, request, source=noise(frames, seed=3))
        assert found.shape == (150, CHANNELS)
    coded = replace(SONG, codes=tuple(range(frames // 5)))
    assert (await latents(generator, coded)).shape == (150, CHANNELS)


async def test_a_repaint_keeps_the_source_far_from_its_window(generator: Generator) -> None:
    given = noise(150, seed=3)
    request = replace(SONG, task=Task.REPAINT, window=Window(60, 90))
    result = await latents(generator, request, source=given)
    assert np.array_equal(result[:40], given[:40])
    assert np.array_equal(result[110:], given[110:])
    assert not np.allclose(result[60:90], given[60:90], atol=0.1)


async def test_cut_texts_are_reported(generator: Generator) -> None:
    request = replace(SONG, caption="a song " * 300, lyrics="la " * 3000)
    assert (await answer(generator, request)).used.truncated == ("caption", "lyrics")


async def test_a_failing_song_fails_alone(generator: Generator) -> None:
    broken, no_numbers = replace(SONG, task=Task.COMPLETE), np.full((150, CHANNELS), np.nan, np.float32)
    alone = await latents(generator, SONG)
    good, bad = await asyncio.gather(
        latents(generator, SONG), answer(generator, broken, source=no_numbers), return_exceptions=True
    )
    assert np.allclose(good, alone, rtol=0, atol=5e-5)
    assert isinstance(bad, JobError)


async def test_a_short_song_does_not_wait_for_a_long_one(generator: Generator) -> None:
    ended = []

    async def ends(name: str, request: DenoiseRequest) -> None:
        await answer(generator, request)
        ended.append(name)

    async with asyncio.TaskGroup() as songs:
        long = songs.create_task(ends("long", replace(SONG, frames=1500)))
        async with aclosing(generator.denoise((replace(SONG, frames=1500),), RecordingRefs())) as stream:
            await anext(stream)  # Both long songs are being made.
        songs.create_task(ends("short", changed(SONG, timesteps=(1.0, 0.5))))
        assert not long.done()
    assert ended == ["short", "long"]


async def test_a_cancelled_song_stops_within_a_step_and_the_next_one_starts(generator: Generator) -> None:
    seen: list[Progress | DenoisedLatents] = []
    third_step = asyncio.Event()

    async def watch() -> None:
        async with aclosing(generator.denoise((replace(SONG, frames=1500),), RecordingRefs())) as stream:
            async for _, answer in stream:
                seen.append(answer)
                if len(seen) == 3:
                    third_step.set()

    watching = asyncio.create_task(watch())
    await third_step.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await answer(generator, SONG)
    assert seen[-1].done <= 4
    generator.check_health()


async def test_the_replica_names_its_checkpoint(generator: Generator) -> None:
    assert generator.ready() == "acestep-v15-turbo"


SUNG = changed(replace(SONG, lyrics="[verse]\nla la la\nda da\n"), lyric_timestamps=True)


async def test_the_times_of_lyrics_are_found_and_change_no_song(generator: Generator) -> None:
    timed, plain = [await answer(generator, song) for song in (SUNG, changed(SUNG, lyric_timestamps=False))]
    assert np.array_equal(await timed.latents.read(), await plain.latents.read())
    assert (plain.timed_lyrics, plain.used.untimed, timed.used.untimed) == (None, None, None)
    lyrics = timed.timed_lyrics
    assert lyrics is not None
    assert [line.text for line in lyrics.lines] == ["[verse]", "la la la", "da da"]
    assert lyrics.lrc.count("\n") == 2
    times = [time for token in lyrics.tokens for time in (token.start, token.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 6.0
    assert all(0 <= score <= 1 for score in (lyrics.score, lyrics.condition_score))
    assert "".join(token.text for token in lyrics.tokens) == "[verse]\nla la la\nda da\n"


async def test_a_song_without_words_has_no_times_and_says_so(generator: Generator) -> None:
    result = await answer(generator, replace(SUNG, lyrics=INSTRUMENTAL))
    assert (result.timed_lyrics, result.used.untimed) == (None, "instrumental")
