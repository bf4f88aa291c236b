"""The planning stage of an attempt: its plan, from the checkpoint or with the LM."""

from functools import partial

from serve_app.execution.attempt import Attempt
from serve_app.execution.song_planning import Questions, plan_song
from serve_app.execution.source_audio import SourceAudio
from serve_app.request.song_plan import SongPlan


async def plan(attempt: Attempt, source: SourceAudio | None) -> SongPlan:
    """Decide on the words and complete the metadata. The LM is asked only for what is missing.

    A fallback plan, made because the LM was down, is not checkpointed: a retry may get the LM's plan.
    """
    if attempt.job.checkpoint.plan is not None:
        return attempt.job.checkpoint.plan
    with attempt.stage("planning") as origin:
        hear = None if source is None else partial(source.codes, origin)
        song = await plan_song(attempt.draft, questions_of(attempt), attempt.settings, origin, hear)
    await keep_plan(attempt, song)
    return song


async def keep_plan(attempt: Attempt, song: SongPlan) -> None:
    """Store what the LM has decided, so that a retry does not ask again."""
    if song.lm_answered and not song.is_fallback:
        await attempt.keep_stages(song, None)


def questions_of(attempt: Attempt) -> Questions:
    """The questions of an attempt to the LM that its request names."""
    return Questions(attempt.models, attempt.language_model, attempt.settings.jobs.plan_timeout_seconds)
