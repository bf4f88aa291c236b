"""One attempt at a job, from its claim to its files: plan → compose → encode → denoise → decode → result.

Each step is one function with typed input and output, and `run_job` calls them in order. Parsing and
submitting belong to `serve_app.api`, claiming and finishing to `serve_app.execution.runner`.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from configs.domain import Task, code_count, latent_frames
from deployments.common.messages import (
    REPAINT_MODES,
    AudioCodes,
    AudioFile,
    ComposeRequest,
    DecodeRequest,
    DenoisedLatents,
    DenoiseRequest,
    EncodeRequest,
    Latents,
    Metadata,
    Origin,
    PlanRequest,
    Splice,
)
from serve_app.execution.attempt import Attempt
from serve_app.execution.failures import is_unavailable
from serve_app.execution.results import job_result
from serve_app.jobs.model import Job
from serve_app.request.planning import (
    diffusion_options,
    fallback_plan,
    instruction,
    lyrics_for_models,
    plan_request,
    sampling,
    song_plan,
)
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import Recording

PLAN_PAUSE_SECONDS = 0.5
"""Pause before a language model that was unavailable is asked again."""


@dataclass(frozen=True)
class Recordings:
    """Latents of the user's recordings; None where there is no recording or it is silent."""

    source: Latents | None
    reference: Latents | None
    gain: float = 1.0
    """Factor that was applied to the source before it was encoded."""


@dataclass(frozen=True)
class FinishedJob:
    """The result of a job and its files, which `Lease.finish` publishes."""

    result: dict[str, Any]
    files: tuple[str, ...]
    file_bytes: int


async def run_job(attempt: Attempt) -> FinishedJob:
    """Run all steps of a job. Exceptions of the models propagate; `execution.failures` classifies them.

    A plan and codes in the checkpoint of an earlier attempt are used again.
    """
    song = await plan(attempt)
    codes = await compose(attempt, song)
    recordings = await encode(attempt, song)
    latents = await denoise(attempt, song, codes, recordings)
    files = await decode(attempt, song, latents, recordings.gain)
    result = job_result(attempt.job, song, codes, latents, files, attempt.timings, attempt.settings)
    return FinishedJob(result, tuple(file.uri for file in files), sum(file.byte_count for file in files))


async def plan(attempt: Attempt) -> SongPlan:
    """Complete the metadata. The LM is asked only for missing values.

    A fallback plan, made because the LM was down, is not checkpointed: a retry may get the LM's plan.
    """
    if attempt.job.checkpoint.plan is not None:
        return attempt.job.checkpoint.plan
    draft = attempt.draft
    lm_max_duration = attempt.settings.language_model.lm_max_duration
    with attempt.stage("planning") as origin:
        question = plan_request(draft, lm_max_duration)
        if question is None:
            return song_plan(draft, draft.given, lm_answered=False)
        try:
            async with asyncio.timeout(attempt.settings.jobs.plan_timeout_seconds):
                planned = await _planned(attempt, replace(question, origin=origin))
        except TimeoutError:
            return fallback_plan(draft, lm_max_duration)
    song = song_plan(draft, planned, lm_answered=True)
    await attempt.keep_stages(song, None)
    return song


async def _planned(attempt: Attempt, question: PlanRequest) -> Metadata:
    """The LM's answer. Unavailable replicas are retried until the caller's time-out."""
    while True:
        try:
            return await attempt.models.plan(attempt.language_model, question)
        except Exception as error:
            if not is_unavailable(error):
                raise
        await asyncio.sleep(PLAN_PAUSE_SECONDS)


async def compose(attempt: Attempt, song: SongPlan) -> list[tuple[int, ...] | None]:
    """The audio codes of each item: the user's, the LM's, or none."""
    spec = attempt.spec
    if attempt.job.checkpoint.codes is not None:
        return list(attempt.job.checkpoint.codes)
    if not attempt.draft.wants_codes:
        return list(spec.codes) or [None] * len(spec.seeds)

    def question(item: int, origin: Origin) -> ComposeRequest:
        return ComposeRequest(
            caption=spec.request.caption,
            lyrics=lyrics_for_models(spec.request),
            metadata=song.item_metadata(item),
            code_count=code_count(song.durations[item]),
            sampling=sampling(spec.request, spec.seeds[item], guided=True),
            backend=spec.request.lm_backend,
            language=spec.request.vocal_language,
            origin=origin,
        )

    with attempt.stage("composing") as origin:
        runs = await attempt.each_item(
            AudioCodes, lambda item: attempt.models.compose(attempt.language_model, question(item, origin))
        )
    codes: list[tuple[int, ...] | None] = [run.codes for run in runs]
    if not song.is_fallback:
        await attempt.keep_stages(song, tuple(codes))
    return codes


async def encode(attempt: Attempt, song: SongPlan) -> Recordings:
    """Encode the source and the timbre reference to latents."""
    spec = attempt.spec
    source = reference = None
    gain = 1.0
    if spec.source or spec.reference:
        with attempt.stage("composing", "recordings") as origin:
            if spec.source:
                encoded = await attempt.models.encode(
                    _source_request(spec.source, spec.seeds[0], song, origin)
                )
                source, gain = encoded.latents, encoded.gain
            if spec.reference:
                request = EncodeRequest(spec.reference.uri, "reference", spec.seeds[0], origin=origin)
                reference = (await attempt.models.encode(request)).latents
    return Recordings(source, reference, gain)


def _source_request(source: Recording, seed: int, song: SongPlan, origin: Origin) -> EncodeRequest:
    span = song.span
    if span is None:
        return EncodeRequest(source.uri, "source", seed, origin=origin)
    renewed = (span.start, span.end) if song.task is Task.REPAINT else None
    return EncodeRequest(source.uri, "source", seed, span.pad_left, span.pad_right, renewed, origin)


async def denoise(
    attempt: Attempt, song: SongPlan, codes: list[tuple[int, ...] | None], recordings: Recordings
) -> list[DenoisedLatents]:
    """Denoise the latents of each item."""
    spec = attempt.spec

    def question(item: int, origin: Origin) -> DenoiseRequest:
        frames = latent_frames(song.durations[item])
        return DenoiseRequest(
            task=song.task,
            instruction=instruction(spec.request, song.task),
            caption=spec.request.caption,
            lyrics=lyrics_for_models(spec.request),
            language=spec.request.vocal_language,
            metadata=song.item_metadata(item),
            frames=frames,
            seed=spec.seeds[item],
            codes=codes[item],
            source=recordings.source,
            window=song.span.window(frames) if song.span else None,
            reference=recordings.reference,
            options=diffusion_options(spec.request),
            origin=origin,
        )

    with attempt.stage("denoising") as origin:
        questions = tuple(question(item, origin) for item in range(len(spec.seeds)))
        return await attempt.all_items(DenoisedLatents, attempt.models.denoise(attempt.dit, questions))


async def decode(
    attempt: Attempt, song: SongPlan, latents: list[DenoisedLatents], source_gain: float
) -> list[AudioFile]:
    """Decode each item's latents and write its audio file into this attempt's folder of the storage."""
    job, request = attempt.job, attempt.spec.request

    def question(item: int, origin: Origin) -> DecodeRequest:
        return DecodeRequest(
            latents=latents[item].latents,
            seconds=song.durations[item],
            audio_format=request.audio_format,
            uri=attempt.storage.result_uri(job.job_id, job.attempt, item, request.audio_format),
            splice=_splice(attempt.job, song, source_gain),
            origin=origin,
        )

    with attempt.stage("decoding") as origin:
        files = await attempt.each_item(AudioFile, lambda item: attempt.models.decode(question(item, origin)))
    encoding = max(file.timings["encoding"] for file in files)
    attempt.timings["decoding"] -= encoding
    attempt.timings["encoding"] = encoding
    return files


def _splice(job: Job, song: SongPlan, source_gain: float) -> Splice | None:
    source, span = job.spec.source, song.span
    crossfade = REPAINT_MODES[job.spec.request.repaint_mode].splice_seconds
    if source is None or span is None or song.task is not Task.REPAINT or crossfade is None:
        return None
    return Splice(source.uri, span.start, span.end, span.pad_left, span.pad_right, crossfade, source_gain)
