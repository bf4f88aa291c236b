import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.domain import CODE_COUNT, CODE_RATE, LANGUAGES
from configs.settings import Backend, LanguageModelSettings
from deployments.checkpoints.catalog import language_model_tasks
from deployments.common.errors import JobError, UntrainedError
from deployments.common.messages import (
    AudioCodes,
    ComposeRequest,
    DescribeRequest,
    HeardCodes,
    Inspiration,
    Metadata,
    PlanRequest,
    Progress,
    Sampling,
    SongTexts,
    Subject,
)
from deployments.language_model.backend import TokenRequest
from deployments.language_model.engine import LanguageModelEngine
from deployments.language_model.sampling import derived_seed
from deployments.language_model.text.codes import longest_run
from deployments.language_model.text.grammar import metadata_regex
from deployments.language_model.text.metadata import lm_fields
from deployments.language_model.text.tokenizer import LMTokenizer

BACKENDS: tuple[Backend, ...] = ("vllm", "pt")
each_backend = pytest.mark.parametrize("backend", BACKENDS)

GUIDED = Sampling(seed=1, cfg_scale=2.0)
SONG = ComposeRequest(
    caption="An upbeat pop song",
    lyrics="[Verse 1]\nWalking down the empty street tonight",
    metadata=Metadata(120, "C major", "4", 12.0),
    code_count=60,
    sampling=GUIDED,
    language="en",
)
QUESTION = PlanRequest(
    caption="A calm piano melody",
    lyrics="[Instrumental]",
    language="en",
    given=Metadata(),
    wants_duration=True,
    max_duration=30,
    sampling=Sampling(seed=1, temperature=1.0),
)


async def composed(engine: LanguageModelEngine, request: ComposeRequest) -> tuple[int, ...]:
    answers = [answer async for answer in engine.compose(request)]
    assert isinstance(answers[-1], AudioCodes)
    return answers[-1].codes


def check_metadata(metadata: Metadata, max_duration: int = 30) -> None:
    assert metadata.bpm is not None
    assert 30 <= metadata.bpm <= 300
    assert metadata.duration is not None
    assert 10 <= metadata.duration <= max_duration
    assert metadata.time_signature in {"2", "3", "4", "6"}
    assert metadata.key_scale is not None
    assert lm_fields(metadata, None)["keyscale"] == metadata.key_scale


@each_backend
async def test_missing_metadata_is_written_in_range(engine: LanguageModelEngine, backend: str) -> None:
    metadata = await engine.plan(replace(QUESTION, backend=backend))
    check_metadata(metadata)


@each_backend
@pytest.mark.parametrize(
    "given",
    [
        Metadata(bpm=72),
        Metadata(key_scale="c# minor"),
        Metadata(time_signature="6/8", duration=12.3),
        Metadata(bpm=300, key_scale="D dorian", time_signature="5/4"),
        Metadata(bpm=60, key_scale="Bbm", time_signature="4/4"),
    ],
)
async def test_given_metadata_comes_back_as_written(
    engine: LanguageModelEngine, backend: str, given: Metadata
) -> None:
    planned = await engine.plan(replace(QUESTION, given=given, backend=backend))
    for name in ("bpm", "key_scale", "time_signature", "duration"):
        asked, answered = getattr(given, name), getattr(planned, name)
        assert answered is not None
        assert asked is None or answered == asked


async def test_a_duration_that_is_not_wanted_is_not_written(engine: LanguageModelEngine) -> None:
    planned = await engine.plan(replace(QUESTION, wants_duration=False))
    assert planned.duration is None
    assert planned.bpm is not None


async def test_nothing_missing_needs_no_lm(engine: LanguageModelEngine) -> None:
    given = Metadata(72, "D dorian", "5/4", 3.0)
    assert await engine.plan(replace(QUESTION, given=given, backend="not there")) is given


@pytest.mark.parametrize("seeds", [60, pytest.param(200, marks=pytest.mark.slow)])
async def test_metadata_of_many_seeds_is_always_valid(engine: LanguageModelEngine, seeds: int) -> None:
    questions = [
        replace(
            QUESTION,
            caption=f"song {seed}",
            max_duration=10 + seed % 7 * 90,
            given=Metadata(
                bpm=40 + seed if seed % 3 == 0 else None, key_scale="F♯ minor" if seed % 5 == 0 else None
            ),
            sampling=Sampling(seed=seed, temperature=1.0, top_p=1.0),
            backend=BACKENDS[seed % 2],
        )
        for seed in range(seeds)
    ]
    answers = await asyncio.gather(*map(engine.plan, questions))
    for question, answer in zip(questions, answers, strict=True):
        check_metadata(replace(answer, key_scale="A major"), question.max_duration)
        assert question.given.bpm in (None, answer.bpm)
        assert question.given.key_scale in (None, answer.key_scale)
    assert len({answer.bpm for answer in answers}) > seeds // 10


async def test_guided_metadata_is_valid_and_the_same_on_both_backends(engine: LanguageModelEngine) -> None:
    guided = Sampling(seed=4, temperature=1.0, cfg_scale=3.0, negative_prompt="noise")
    answers = [await engine.plan(replace(QUESTION, sampling=guided, backend=backend)) for backend in BACKENDS]
    check_metadata(answers[0])
    assert answers[0] == answers[1]


def describing(subject: Subject, **changes: Any) -> DescribeRequest:
    sampling = Sampling(seed=4, temperature=1.0, top_p=1.0)
    request = DescribeRequest(
        subject, Metadata(), None, 30, max_tokens=640, wants_lyrics=True, sampling=sampling
    )
    return replace(request, **changes)


@pytest.mark.parametrize(
    "subject",
    [HeardCodes((5, 63_999, 5)), SongTexts("pop", "la la"), Inspiration("a sad waltz", instrumental=False)],
    ids=["understand", "format", "inspire"],
)
async def test_a_description_has_every_field_in_range_and_is_the_same_on_both_backends(
    engine: LanguageModelEngine, subject: Subject
) -> None:
    described, on_torch = await asyncio.gather(
        *(engine.describe(describing(subject, backend=backend)) for backend in BACKENDS)
    )
    check_metadata(described.metadata)
    assert described.metadata.language in LANGUAGES
    assert described.metadata.caption
    assert described.lyrics
    assert "<|" not in described.lyrics
    assert described == on_torch


async def test_a_description_keeps_what_is_given(engine: LanguageModelEngine) -> None:
    given = Metadata(72, "D dorian", "3/4", 25.0)
    described = await engine.describe(
        describing(SongTexts("pop", "la la"), given=given, language="ja", wants_lyrics=False, max_tokens=512)
    )
    metadata = described.metadata
    assert replace(metadata, caption=None, genres=None) == replace(given, language="ja")
    assert metadata.caption
    assert described.lyrics == ""


async def test_lyrics_are_cut_off_when_their_time_is_over(engine: LanguageModelEngine) -> None:
    whole = await engine.describe(describing(SongTexts("pop", "la la")))
    cut = await engine.describe(describing(SongTexts("pop", "la la"), max_seconds=0.0))
    assert cut.metadata == whole.metadata
    assert len(cut.lyrics) < len(whole.lyrics)
    assert whole.lyrics.startswith(cut.lyrics.rstrip("\N{REPLACEMENT CHARACTER}"))


@each_backend
async def test_metadata_with_a_caption_and_a_language_ends_and_keeps_what_is_given(
    engine: LanguageModelEngine, backend: str
) -> None:
    question = replace(
        QUESTION, given=Metadata(bpm=72), wants_caption=True, wants_language=True, backend=backend
    )
    answer = await engine.plan(question)
    check_metadata(replace(answer, bpm=72))
    assert answer.bpm == 72
    assert answer.caption
    assert answer.language in LANGUAGES


@each_backend
async def test_an_urgent_question_is_answered_beside_songs_that_take_all_rows(
    engine: LanguageModelEngine, backend: str
) -> None:
    rows = LanguageModelSettings().max_num_seqs
    songs = [
        asyncio.create_task(
            composed(engine, replace(SONG, code_count=400, sampling=Sampling(seed=seed), backend=backend))
        )
        for seed in range(rows + 1)
    ]
    await asyncio.sleep(0)
    answer = await engine.plan(replace(QUESTION, is_urgent=True, backend=backend))
    check_metadata(answer)
    assert not any(song.done() for song in songs)
    for song in songs:
        song.cancel()
    await asyncio.gather(*songs, return_exceptions=True)


async def test_a_checkpoint_says_what_it_was_trained_for(engine: LanguageModelEngine, tmp_path: Path) -> None:
    """The engine's tasks are exchanged, because a second vLLM engine would cost ten seconds."""
    (tmp_path / "config.json").write_text('{"trained_tasks": ["format"]}')
    tasks, engine._tasks = engine._tasks, language_model_tasks(tmp_path)
    try:
        with pytest.raises(UntrainedError):
            await engine.describe(describing(HeardCodes((1,))))
        question = replace(QUESTION, given=Metadata(bpm=72), wants_caption=True, wants_language=True)
        answer = await engine.plan(question)
        assert (answer.caption, answer.language) == (None, None)
        await engine.describe(describing(SongTexts("pop", ""), wants_lyrics=False))
    finally:
        engine._tasks = tasks


@each_backend
@pytest.mark.parametrize("code_count", [1, 7, 60])
async def test_codes_have_the_asked_length_and_range(
    engine: LanguageModelEngine, backend: str, code_count: int
) -> None:
    codes = await composed(engine, replace(SONG, code_count=code_count, backend=backend))
    assert len(codes) == code_count
    assert all(0 <= code < CODE_COUNT for code in codes)


@pytest.mark.parametrize(
    "sampling",
    [
        replace(GUIDED, temperature=0.0),
        Sampling(seed=0, temperature=0.0),
        GUIDED,
        Sampling(seed=9, temperature=1.2, top_k=50, top_p=1.0, repetition_penalty=1.3),
        replace(GUIDED, temperature=0.0, cfg_scale=4.5, repetition_penalty=1.2, negative_prompt="slow, sad"),
    ],
)
async def test_both_backends_write_the_same_codes(engine: LanguageModelEngine, sampling: Sampling) -> None:
    songs = [replace(SONG, sampling=sampling, backend=backend) for backend in BACKENDS]
    on_vllm, on_torch = [await composed(engine, song) for song in songs]
    assert on_vllm == on_torch


@each_backend
async def test_codes_follow_the_seed_and_not_the_batch(engine: LanguageModelEngine, backend: str) -> None:
    song = replace(SONG, backend=backend)
    alone = await composed(engine, song)
    others = [
        replace(song, sampling=replace(GUIDED, seed=seed), code_count=20 + seed) for seed in range(2, 7)
    ]
    together = await asyncio.gather(*(composed(engine, one) for one in [*others, song]))
    assert together[-1] == alone
    assert len(set(together)) == 6


@each_backend
async def test_guidance_and_its_prompt_change_the_codes(engine: LanguageModelEngine, backend: str) -> None:
    samplings = [
        replace(GUIDED, cfg_scale=1.0),
        GUIDED,
        replace(GUIDED, negative_prompt="a very different sound"),
    ]
    codes = [
        await composed(engine, replace(SONG, sampling=sampling, backend=backend)) for sampling in samplings
    ]
    assert len(set(codes)) == 3


@each_backend
async def test_progress_rises_to_the_whole(engine: LanguageModelEngine, backend: str) -> None:
    answers = [answer async for answer in engine.compose(replace(SONG, code_count=45, backend=backend))]
    progress = [answer for answer in answers if isinstance(answer, Progress)]
    done = [one.done for one in progress]
    assert done == sorted(set(done))
    assert progress[-1] == Progress("composing", 45, 45)
    assert len(progress) >= 4


@each_backend
async def test_a_cancelled_song_frees_its_place_at_once(engine: LanguageModelEngine, backend: str) -> None:
    long = replace(SONG, code_count=3000, backend=backend)

    async def begin_and_leave() -> None:
        async with aclosing(engine.compose(long)) as answers:
            await anext(answers)

    # There are more rows than the batch holds. Unless they leave, the last song waits for thousands of steps.
    await asyncio.gather(*(begin_and_leave() for _ in range(8)))
    async with asyncio.timeout(10):
        assert len(await composed(engine, replace(SONG, code_count=10, backend=backend))) == 10


@each_backend
async def test_a_cancelled_task_frees_its_place_too(engine: LanguageModelEngine, backend: str) -> None:
    long = replace(SONG, code_count=3000, backend=backend)
    tasks = [asyncio.create_task(composed(engine, long)) for _ in range(8)]
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(10):
        assert len(await composed(engine, replace(SONG, code_count=10, backend=backend))) == 10


@each_backend
async def test_a_song_that_does_not_fit_is_refused(engine: LanguageModelEngine, backend: str) -> None:
    lyrics = "歌" * 16_384
    assert not engine.fits("", lyrics, "NO USER INPUT", 3000)
    with pytest.raises(JobError, match="tokens"):
        await composed(engine, replace(SONG, lyrics=lyrics, code_count=3000, backend=backend))


@pytest.mark.parametrize("sampled_lyrics", ["la la la la\n" * 1365, "x" * 16_384])
def test_the_longest_english_song_fits(engine: LanguageModelEngine, sampled_lyrics: str) -> None:
    assert engine.fits("pop " * 512, sampled_lyrics, "NO USER INPUT", 3000)


async def test_a_backend_that_is_not_there_is_named(engine: LanguageModelEngine) -> None:
    with pytest.raises(JobError, match="only vllm, pt"):
        await composed(engine, replace(SONG, backend="mlx"))


def test_all_regular_expressions_are_understood_by_the_grammar_compiler() -> None:
    import xgrammar

    everything = ("bpm", "caption", "duration", "keyscale", "language", "timesignature")
    assert xgrammar.Grammar.from_regex(metadata_regex(everything))


@pytest.mark.parametrize(("temperature", "runs"), [(0.85, 2), (0.0, 1)])
async def test_a_run_that_falls_into_a_loop_is_repeated_once_with_another_seed(
    engine: LanguageModelEngine,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    temperature: float,
    runs: int,
) -> None:
    sampling = replace(GUIDED, temperature=temperature)
    derived = replace(sampling, seed=derived_seed(sampling.seed, 1))
    song = replace(SONG, backend="pt")
    alternatives = [await composed(engine, replace(song, sampling=one)) for one in (sampling, derived)]
    monkeypatch.setattr("deployments.language_model.engine.DEGENERATE_RUN", 1)
    codes = await composed(engine, replace(song, sampling=sampling))
    assert len([record for record in caplog.records if "repeated_code" in record.message]) == runs
    assert codes == min(alternatives[:runs], key=longest_run)


class Stuck:
    """A backend that writes the same code `times` times, like a model in a loop, and then others."""

    capacity = 10_000

    def __init__(self, first_code: int, times: int) -> None:
        self._codes = [first_code] * times + [first_code + 1 + index for index in range(60 - times)]
        self.runs = 0

    async def generate(self, _request: TokenRequest) -> AsyncGenerator[list[int], None]:
        self.runs += 1
        yield self._codes


@pytest.mark.parametrize(("seconds", "runs"), [(9.8, 1), (10.0, 2)])
async def test_ten_seconds_of_one_code_are_a_loop(
    checkpoint: Path,
    tokenizer: LMTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    runs: int,
) -> None:
    stuck = Stuck(tokenizer.first_code, times=round(seconds * CODE_RATE))
    monkeypatch.setattr(LanguageModelEngine, "_start_backend", lambda *_: stuck)
    assert len(await composed(LanguageModelEngine(checkpoint, LanguageModelSettings()), SONG)) == 60
    assert stuck.runs == runs
