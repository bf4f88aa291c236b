"""The share of a job in the usage of its client, from its record and its result."""

from collections.abc import Iterable, Mapping
from typing import Any

from configs.domain import CODE_TOKEN_PREFIX
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.usage import Counted, Usage, day_of

LANGUAGE_MODEL, GENERATOR, CODEC = ("planning", "composing"), ("denoising",), ("decoding", "encoding")
"""The stages of each engine."""


def share(job: Job, state: JobState, ended_at: float, result: Mapping[str, Any] | None) -> Counted:
    """Return the share of a job that ends in a state; `job` is its record before that.

    Of a job without a result only the stages in its checkpoint are known.
    """
    timings: Mapping[str, float] = job.checkpoint.timings if result is None else result.get("timings", {})
    is_made = state is JobState.SUCCEEDED
    usage = Usage(
        succeeded=int(is_made),
        failed=int(state is JobState.FAILED),
        cancelled=int(state is JobState.CANCELLED),
        audio_ms=audio_ms(job) if is_made else 0,
        codes=_codes(job, result),
        language_model_ms=_milliseconds(timings, LANGUAGE_MODEL),
        generator_ms=_milliseconds(timings, GENERATOR),
        codec_ms=_milliseconds(timings, CODEC),
    )
    return Counted(day_of(ended_at), usage)


def audio_ms(job: Job) -> int:
    """Return the milliseconds of a job's songs, as far as their lengths are known."""
    return round(1000 * job.work.audio_seconds)


def _codes(job: Job, result: Mapping[str, Any] | None) -> int:
    """Return the number of audio codes that the language model wrote for the songs."""
    if job.spec.codes or not job.work.audio_seconds:
        return 0  # The user's own codes, or those of a recording, which the generator finds.
    if result is None:
        return sum(len(run) for run in job.checkpoint.codes or () if run)
    return sum(text.count(CODE_TOKEN_PREFIX) for text in result.get("audio_codes", []) if text)


def _milliseconds(timings: Mapping[str, float], stages: Iterable[str]) -> int:
    return sum(round(1000 * timings.get(stage, 0.0)) for stage in stages)
