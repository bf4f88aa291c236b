"""Plans of songs that the LM writes, rewrites and hears, with an LM that answers as told (contract §1.3)."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray.exceptions

from configs.domain import INSTRUMENTAL
from configs.settings import Settings
from deployments.common.errors import UntrainedError
from deployments.common.messages import (
    DescribeRequest,
    HeardCodes,
    Inspiration,
    Metadata,
    PlanRequest,
    SongDescription,
    SongTexts,
)
from serve_app.execution import song_planning
from serve_app.execution.song_planning import (
    GUESSED_NOTE,
    HEARD_NOTE,
    Questions,
    describe_recording,
    plan_song,
)
from serve_app.request.draft import draft_of
from serve_app.request.planning import FALLBACK_NOTE, words_for_dit, words_of
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan, SongWords
from serve_app.request.spec import JobSpec, Recording
from serve_app.request.writing import FORMAT_NOTE, SAMPLE_NOTE

WRITTEN = Metadata(90, "A minor", "3", 25.0, "a written caption", "fr", "waltz")
REWRITTEN = Metadata(100, "C major", "4", 20.0, "a better caption", "fr")
HEARD = Metadata(70, "E minor", "6", 15.0, "what is heard", "ja", "choir")
GUESSED = Metadata(120, "G major", "4", 30.0)
COMPLETE = {"bpm": 72, "key_scale": "D dorian", "time_signature": "5/4", "audio_duration": 12.0}
SOURCE = Recording("memory://source", 8.0)
DOWN = ray.exceptions.RayActorError()


@dataclass
class LanguageModel:
    """Answers each subject with its own description, unless it has a failure to raise."""

    failure: Exception | None = None
    failures_left: float = math.inf
    """How often it is still raised."""
    asked: list[DescribeRequest | PlanRequest] = field(default_factory=list)

    async def describe(self, _name: str, request: DescribeRequest) -> SongDescription:
        self.asked.append(request)
        self._fail()
        answers = {
            Inspiration: SongDescription(WRITTEN, "written lyrics"),
            SongTexts: SongDescription(REWRITTEN, "better lyrics"),
            HeardCodes: SongDescription(HEARD, "heard lyrics" if request.wants_lyrics else ""),
        }
        return kept(answers[type(request.subject)], request)

    async def plan(self, _name: str, request: PlanRequest) -> Metadata:
        self.asked.append(request)
        if self.failure is DOWN:
            self._fail()
        worded = {}
        if request.wants_caption:
            worded["caption"] = "a worded caption"
        if request.wants_language:
            worded["language"] = "de"
        return merged(request.given, GUESSED, **worded)

    def _fail(self) -> None:
        if self.failure is not None and self.failures_left > 0:
            self.failures_left -= 1
            raise self.failure


def merged(given: Metadata, written: Metadata, **more: Any) -> Metadata:
    known = {name: value for name, value in vars(given).items() if value is not None}
    return Metadata(**{**vars(written), **more, **known})


def kept(answer: SongDescription, request: DescribeRequest) -> SongDescription:
    """The answer with what the request gives, as the engine does it."""
    language = {"language": request.language} if request.language else {}
    return SongDescription(merged(request.given, answer.metadata, **language), answer.lyrics)


def a_job(source: Recording | None = None, **fields: Any) -> JobSpec:
    return JobSpec(GenerateRequest(**fields), seeds=(7,), source=source)


async def codes() -> tuple[int, ...] | None:
    return (1, 2, 3)


async def planned(model: Any, job: JobSpec, patience: float = 5.0, hears: bool = True) -> SongPlan:
    questions = Questions(model, "lm", patience)
    hear = codes if hears and job.source else None
    return await plan_song(draft_of(job), questions, Settings(), hear=hear)


async def test_a_sample_is_written_whole_and_nothing_else_is_asked() -> None:
    model = LanguageModel()
    song = await planned(
        model, a_job(sample_query="a waltz", caption="mine", lyrics="mine", use_cot_caption=True)
    )
    assert song.words == SongWords("a written caption", "written lyrics", "fr")
    assert (song.metadata, song.durations) == (Metadata(90, "A minor", "3", genres="waltz"), (25.0,))
    assert (song.lm_answered, song.is_fallback, song.notes) == (True, False, ())
    assert [type(request) for request in model.asked] == [DescribeRequest]


async def test_the_users_metadata_wins_over_what_the_lm_writes() -> None:
    model = LanguageModel()
    song = await planned(model, a_job(sample_query="a waltz", use_format=True, **COMPLETE))
    assert (song.metadata.bpm, song.metadata.key_scale, song.metadata.time_signature) == (
        72,
        "D dorian",
        "5/4",
    )
    assert song.durations == (12.0,)
    assert all(request.given.bpm == 72 and request.given.duration == 12.0 for request in model.asked)


async def test_a_sample_that_is_also_to_be_formatted_is_rewritten() -> None:
    model = LanguageModel()
    song = await planned(model, a_job(sample_query="a waltz", use_format=True))
    assert [request.subject for request in model.asked] == [
        Inspiration("a waltz", instrumental=False),
        SongTexts("a written caption", "written lyrics"),
    ]
    assert song.words == SongWords("a better caption", "better lyrics", "fr")
    assert song.metadata.bpm == 90  # the sample's


async def test_instrumental_music_stays_instrumental() -> None:
    sample = await planned(LanguageModel(), a_job(sample_query="an instrumental waltz"))
    rewritten = await planned(LanguageModel(), a_job(caption="a waltz", use_format=True))
    assert (sample.words.lyrics, rewritten.words.lyrics) == (INSTRUMENTAL, INSTRUMENTAL)


async def test_nothing_to_rewrite_asks_nothing_but_metadata() -> None:
    model = LanguageModel()
    await planned(model, a_job(use_format=True))
    assert [type(request) for request in model.asked] == [PlanRequest]


@pytest.mark.parametrize(
    ("fields", "caption"),
    [
        ({"use_cot_caption": True}, "a worded caption"),
        ({"use_cot_caption": True, "thinking": True, **COMPLETE}, "a worded caption"),
        ({"use_cot_caption": True, **COMPLETE}, "mine"),
        ({}, "mine"),
        ({"thinking": True}, "mine"),
    ],
)
async def test_the_lm_words_the_caption_where_it_plans_anyway(fields: dict[str, Any], caption: str) -> None:
    job = a_job(caption="mine", **fields)
    song = await planned(LanguageModel(), job)
    assert words_for_dit(job.request, song).caption == caption
    assert words_of(job.request, song).caption == "mine"


async def test_a_task_with_a_source_keeps_the_users_words() -> None:
    job = a_job(SOURCE, task_type="cover", caption="mine", use_cot_caption=True, use_cot_language=True)
    song = await planned(LanguageModel(), job, hears=False)
    assert words_for_dit(job.request, song) == SongWords("mine", INSTRUMENTAL, "en")


async def test_the_lm_chooses_the_language_where_it_is_asked_to() -> None:
    job = a_job(use_cot_language=True, vocal_language="unknown")
    assert words_for_dit(job.request, await planned(LanguageModel(), job)).language == "de"
    other = a_job(vocal_language="ja")
    assert words_for_dit(other.request, await planned(LanguageModel(), other)).language == "ja"


async def test_what_the_source_does_not_say_is_heard_in_it() -> None:
    model = LanguageModel()
    song = await planned(model, a_job(SOURCE, task_type="cover", caption="mine", bpm=100))
    assert song.metadata == Metadata(100, "E minor", "6", genres="choir")
    assert (song.durations, song.notes) == ((8.0,), (HEARD_NOTE,))
    (question,) = model.asked
    assert isinstance(question, DescribeRequest)
    assert (question.subject, question.wants_lyrics) == (HeardCodes((1, 2, 3)), False)
    assert song.words == SongWords("mine", INSTRUMENTAL, "en")


async def test_a_sample_goes_by_what_is_heard_in_the_source() -> None:
    model = LanguageModel()
    song = await planned(model, a_job(SOURCE, task_type="cover", sample_query="a waltz"))
    assert song.words == SongWords("a written caption", "written lyrics", "fr")
    assert (song.metadata.bpm, song.metadata.key_scale, song.durations) == (70, "E minor", (8.0,))
    assert model.asked[1].given == Metadata(70, "E minor", "6", 8.0, genres="choir")


async def test_a_source_whose_metadata_is_given_is_not_heard() -> None:
    model = LanguageModel()
    song = await planned(model, a_job(SOURCE, task_type="cover", **COMPLETE))
    assert (model.asked, song.lm_answered, song.notes) == ([], False, ())


async def test_an_lm_that_cannot_hear_guesses_and_the_job_says_so() -> None:
    model = LanguageModel(failure=UntrainedError("no"))
    song = await planned(model, a_job(SOURCE, task_type="cover"))
    assert (song.metadata, song.notes) == (Metadata(120, "G major", "4"), (GUESSED_NOTE,))


async def test_an_lm_that_was_not_trained_for_it_fails_no_song() -> None:
    model = LanguageModel(failure=UntrainedError("no"))
    song = await planned(model, a_job(sample_query="a Spanish waltz", use_format=True))
    assert song.words == SongWords("a Spanish waltz", INSTRUMENTAL, "es")
    assert song.metadata == Metadata(120, "G major", "4")
    assert song.notes == (SAMPLE_NOTE, FORMAT_NOTE)
    assert not song.is_fallback


async def test_an_lm_that_is_down_is_waited_for_once_and_fails_no_song(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(song_planning, "PAUSE_SECONDS", 0.001)
    model = LanguageModel(failure=DOWN)
    song = await planned(model, a_job(sample_query="a waltz", use_format=True), patience=0.02)
    assert {type(request) for request in model.asked} == {DescribeRequest}
    assert all(isinstance(request.subject, Inspiration) for request in model.asked)
    assert song.words == SongWords("a waltz", INSTRUMENTAL, "en")
    assert song.notes == (SAMPLE_NOTE, FORMAT_NOTE, FALLBACK_NOTE.format(seconds=30.0))
    assert song.is_fallback


async def test_an_lm_that_comes_back_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(song_planning, "PAUSE_SECONDS", 0.001)
    model = LanguageModel(failure=DOWN, failures_left=3)
    song = await planned(model, a_job(sample_query="a waltz"))
    assert len(model.asked) == 4
    assert song.words == SongWords("a written caption", "written lyrics", "fr")


async def test_all_answers_together_take_no_longer_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(song_planning, "PAUSE_SECONDS", 0.001)
    questions = Questions(LanguageModel(failure=DOWN), "lm", patience=600.0, budget=0.05)
    job = a_job(sample_query="a waltz")
    async with asyncio.timeout(60):
        song = await plan_song(draft_of(job), questions, Settings())
    assert song.is_fallback


async def test_a_recording_is_described_with_what_the_user_knows() -> None:
    job = a_job(SOURCE, output="description", bpm=100)
    model: Any = LanguageModel()
    song = await describe_recording(
        draft_of(job), Questions(model, "lm", 5.0), Settings(), (1, 2), song_planning.ANYBODY
    )
    assert song.words == SongWords("what is heard", "heard lyrics", "ja")
    assert (song.metadata, song.durations) == (Metadata(100, "E minor", "6", genres="choir"), (8.0,))


@pytest.mark.parametrize("heard", [(1, 2), ()])
async def test_what_the_lm_cannot_describe_stays_unknown(heard: tuple[int, ...]) -> None:
    job = a_job(SOURCE, output="description", bpm=100)
    model: Any = LanguageModel(failure=UntrainedError("no"))
    song = await describe_recording(
        draft_of(job), Questions(model, "lm", 5.0), Settings(), heard, song_planning.ANYBODY
    )
    assert (song.metadata, song.durations, song.lm_answered) == (Metadata(bpm=100), (8.0,), False)
    assert len(model.asked) == bool(heard)
