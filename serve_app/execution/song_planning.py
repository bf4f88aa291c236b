"""The plan of a song with the LM: it is written or rewritten where the user asks for it, then completed.

Each part that the LM cannot do, because it was not trained for it or is down, has a replacement and a note.
None of them fails a song. (Codes have no replacement: `pipeline.compose`.)
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from configs.domain import INSTRUMENTAL, code_count
from configs.settings import Settings
from deployments.common.errors import JobError
from deployments.common.messages import (
    DescribeRequest,
    HeardCodes,
    Metadata,
    Origin,
    PlanRequest,
    SongDescription,
    SongTexts,
    Subject,
)
from serve_app.execution.failures import cause_of, is_unavailable
from serve_app.execution.models import Models
from serve_app.request.draft import Draft
from serve_app.request.planning import (
    fallback_plan,
    own_words,
    plan_request,
    sampling,
    song_plan,
)
from serve_app.request.song_plan import SongPlan, SongWords
from serve_app.request.writing import (
    FORMAT_NOTE,
    SAMPLE_NOTE,
    UNSUNG_TOKENS,
    bound_language,
    description_tokens,
    fallback_sample,
    inspiration,
    is_instrumental,
    rewritable,
    wants_sample,
)

PAUSE_SECONDS = 0.5
"""Pause before a language model that was unavailable is asked again."""
MARGIN_SECONDS = 3.0
"""How long before the end of their time urgent questions get what has been written of the lyrics."""
DESCRIPTION_PATIENCE = 2.0
"""A description is waited for this many times as long as metadata, because it has many more tokens."""
HEARD_NOTE = "Missing tempo, key and time signature were heard in the source audio."
GUESSED_NOTE = (
    "Missing tempo, key and time signature were guessed from the caption: the language model cannot hear "
    "the source audio."
)

UNHEARD_NOTE = "The language model could not describe the source audio."
ANYBODY = Origin()
"""The origin of questions that belong to no job."""

_Answer = TypeVar("_Answer")
Hear = Callable[[], Awaitable[tuple[int, ...] | None]]
"""Returns the audio codes of the source; None where it is silent."""


class Questions:
    """The questions about one song. After one that got no answer in time the LM is not asked again."""

    def __init__(self, models: Models, name: str, patience: float, budget: float | None = None) -> None:
        """`name` is that of the LM.

        `patience` is the time for metadata, `budget` that for all answers together, both in seconds. With a
        budget the questions are urgent: they go before those of jobs.
        """
        self._models = models
        self._name = name
        self._patience = patience
        self._deadline = None if budget is None else asyncio.get_running_loop().time() + budget
        self.is_down = False

    async def describe(self, question: DescribeRequest) -> SongDescription | None:
        """The answer; None where the LM cannot give one."""
        asked = question
        if self._deadline is not None:
            left = self._deadline - asyncio.get_running_loop().time()
            asked = replace(question, is_urgent=True, max_seconds=max(0.0, left - MARGIN_SECONDS))
        try:
            return await self._answer(
                lambda: self._models.describe(self._name, asked), DESCRIPTION_PATIENCE * self._patience
            )
        except Exception as error:
            if not isinstance(cause_of(error), JobError):
                raise
            return None

    async def plan(self, question: PlanRequest) -> Metadata | None:
        """The answer; None where the LM is down. Raises JobError if the prompt is too long."""
        asked = replace(question, is_urgent=self._deadline is not None)
        return await self._answer(lambda: self._models.plan(self._name, asked), self._patience)

    async def _answer(self, ask: Callable[[], Awaitable[_Answer]], patience: float) -> _Answer | None:
        """The LM's answer. Unavailable replicas are asked again until the time is over."""
        if self.is_down:
            return None
        deadline = asyncio.get_running_loop().time() + patience
        if self._deadline is not None:
            deadline = min(deadline, self._deadline)
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        return await ask()
                    except Exception as error:
                        if not is_unavailable(error):
                            raise
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            self.is_down = True
            return None


async def plan_song(
    draft: Draft,
    questions: Questions,
    settings: Settings,
    origin: Origin = ANYBODY,
    hear: Hear | None = None,
) -> SongPlan:
    """The plan of a song: what is heard in the source, sample, format, then the metadata that is missing.

    `hear` is None where the job has no source that can be heard.
    """
    planner = _Planner(draft, questions, settings, origin)
    if hear is not None:
        await planner.hear(hear)  # first, because a sample would invent what the source says
    await planner.sample()
    await planner.format()
    return await planner.complete()


async def describe_recording(
    draft: Draft, questions: Questions, settings: Settings, codes: tuple[int, ...], origin: Origin
) -> SongPlan:
    """The LM's description of a recording by its codes; where the LM cannot, what is known without it."""
    request = draft.spec.request
    planner = _Planner(draft, questions, settings, origin)
    found = await planner.described(HeardCodes(codes), bound_language(request)) if codes else None
    if found is None:
        return song_plan(draft, draft.given, lm_answered=False, notes=(UNHEARD_NOTE,))
    written = found.metadata
    words = SongWords(written.caption or "", found.lyrics or INSTRUMENTAL, written.language or "unknown")
    metadata = replace(written, caption=None, language=None)
    return song_plan(draft, metadata, lm_answered=True, words=words)


class _Planner:
    """A draft, and what has been found out about its song so far."""

    def __init__(self, draft: Draft, questions: Questions, settings: Settings, origin: Origin) -> None:
        self._draft = draft
        self._questions = questions
        self._max_duration = settings.language_model.lm_max_duration
        self._max_tokens = description_tokens(
            settings.language_model.max_model_len, code_count(settings.api.max_duration)
        )
        self._origin = origin
        self._request = draft.spec.request
        self._words = own_words(self._request)
        self._notes: list[str] = []
        self._is_worded = False
        """Whether the LM has written the words."""
        self._has_answer = False
        """Whether anything of the plan is the LM's."""

    async def sample(self) -> None:
        """Let the LM write the song."""
        if not wants_sample(self._request):
            return
        subject = inspiration(self._request)
        wants_lyrics = not subject.instrumental
        found = await self.described(subject, bound_language(self._request), wants_lyrics)
        if found is None:
            self._words = fallback_sample(self._request, self._draft.spec.seeds[0])
            self._notes.append(SAMPLE_NOTE)
            return
        self._take(found, found.lyrics if wants_lyrics and found.lyrics else INSTRUMENTAL)

    async def format(self) -> None:
        """Let the LM rewrite the words."""
        words = self._words
        if not self._request.use_format or not rewritable(words.caption, words.lyrics):
            return
        language = None if self._request.use_cot_language and not self._is_worded else words.language
        is_sung = not is_instrumental(words.lyrics)
        found = await self.described(SongTexts(words.caption, words.lyrics), language, is_sung)
        if found is None:
            self._notes.append(FORMAT_NOTE)
            return
        self._take(found, found.lyrics if is_sung and found.lyrics else words.lyrics)

    async def hear(self, hear: Hear) -> None:
        """Let the LM hear missing tempo, key and time signature in the source."""
        given = self._draft.given
        if None not in (given.bpm, given.key_scale, given.time_signature):
            return
        codes = await hear()
        if codes is None:
            return
        found = await self.described(HeardCodes(codes), None, wants_lyrics=False)
        if found is None:
            self._notes.append(GUESSED_NOTE)
            return
        heard = found.metadata
        self._draft = replace(
            self._draft,
            given=replace(
                given,
                bpm=heard.bpm,
                key_scale=heard.key_scale,
                time_signature=heard.time_signature,
                genres=heard.genres,
            ),
        )
        self._has_answer = True
        self._notes.append(HEARD_NOTE)

    async def complete(self) -> SongPlan:
        """Let the LM write what is still missing."""
        question = plan_request(self._draft, self._max_duration, self._words, may_word=not self._is_worded)
        notes = tuple(self._notes)
        if question is None:
            song = song_plan(self._draft, self._draft.given, self._has_answer, notes, self._words)
            return replace(song, is_fallback=self._questions.is_down)
        answer = await self._questions.plan(replace(question, origin=self._origin))
        if answer is None:
            return fallback_plan(self._draft, self._max_duration, notes, self._words)
        has_answer = self._has_answer or answer != self._draft.given
        return song_plan(self._draft, answer, has_answer, notes, self._words)

    async def described(
        self, subject: Subject, language: str | None, wants_lyrics: bool = True
    ) -> SongDescription | None:
        """The LM's description, which keeps what is given; None where the LM cannot give one."""
        request = self._request
        return await self._questions.describe(
            DescribeRequest(
                subject=subject,
                given=self._draft.given,
                language=language,
                max_duration=self._max_duration,
                max_tokens=self._max_tokens if wants_lyrics else min(UNSUNG_TOKENS, self._max_tokens),
                wants_lyrics=wants_lyrics,
                sampling=sampling(request, self._draft.spec.seeds[0], guided=False),
                backend=request.lm_backend,
                origin=self._origin,
            )
        )

    def _take(self, found: SongDescription, lyrics: str) -> None:
        """Go on with what the LM wrote. It has kept what was given."""
        written = found.metadata
        self._words = SongWords(
            written.caption or self._words.caption, lyrics, written.language or self._words.language
        )
        self._draft = replace(self._draft, given=replace(written, caption=None, language=None))
        self._is_worded = self._has_answer = True
