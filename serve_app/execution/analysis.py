"""Jobs that make no sound: codes or a description of a recording, or metadata for a caption and lyrics."""

from dataclasses import replace

from serve_app.execution.attempt import Attempt
from serve_app.execution.planning_stage import keep_plan, plan, questions_of
from serve_app.execution.results import FinishedJob, analysis_result
from serve_app.execution.song_planning import describe_recording
from serve_app.execution.source_audio import SourceAudio
from serve_app.request.planning import song_plan
from serve_app.request.schemas import Output
from serve_app.request.song_plan import SongPlan


async def analyse(attempt: Attempt) -> FinishedJob:
    """Run an analysis. Exceptions of the models propagate as those of a song do."""
    codes: tuple[int, ...] | None = None
    if attempt.spec.source is None:
        song = await plan(attempt, None)
    else:
        codes = await _codes(attempt)
        song = await _described(attempt, codes)
    result = analysis_result(attempt.job, song, codes, attempt.timings, attempt.settings)
    return FinishedJob(result, files=(), file_bytes=0)


async def _codes(attempt: Attempt) -> tuple[int, ...]:
    """The codes of the source; none where it is silent."""
    with attempt.stage("planning", "recordings") as origin:
        return await SourceAudio(attempt.draft, attempt.models, attempt.dit).codes(origin) or ()


async def _described(attempt: Attempt, codes: tuple[int, ...]) -> SongPlan:
    """Return the known metadata of the source. The LM's description is added where the job asks for it."""
    if attempt.job.checkpoint.plan is not None:
        return attempt.job.checkpoint.plan
    draft = attempt.draft
    if attempt.spec.request.output is Output.CODES:
        return song_plan(draft, draft.given, lm_answered=False)
    with attempt.stage("planning", "describing") as origin:
        questions = questions_of(attempt)
        song = await describe_recording(draft, questions, attempt.settings, codes, origin)
    await keep_plan(attempt, replace(song, is_fallback=questions.is_down))
    return song
