"""One attempt at a job, from its claim to its files: plan → compose → encode → denoise → decode → result.

Each step is one function with typed input and output, and `run_job` calls them in order. Parsing and
submitting belong to `serve_app.api`, claiming and finishing to `serve_app.execution.runner`.
"""

import logging
from dataclasses import dataclass

from configs.domain import Task, code_count, latent_frames
from deployments.common.job_log import log_event
from deployments.common.marks import Marks
from deployments.common.messages import (
    AudioCodes,
    AudioFile,
    ComposeRequest,
    DecodeRequest,
    DenoisedLatents,
    DenoiseRequest,
    EncodeRequest,
    Origin,
    RecordingRefs,
    Splice,
)
from serve_app.execution.analysis import analyse
from serve_app.execution.attempt import Attempt
from serve_app.execution.failures import are_latents_lost
from serve_app.execution.planning_stage import plan
from serve_app.execution.results import FinishedJob, job_result, song_marks
from serve_app.execution.source_audio import SourceAudio
from serve_app.jobs.model import Job
from serve_app.request.planning import (
    diffusion_options,
    finish,
    instruction,
    morph,
    repaint_mode,
    retake,
    sampling,
    words_for_dit,
    words_of,
)
from serve_app.request.schemas import Output
from serve_app.request.song_plan import SongPlan

SOUND_TRIES = 3
"""How often one attempt makes the sound at most, if its latents are lost each time."""


@dataclass(frozen=True)
class Recordings:
    """The user's recordings as the models need them."""

    latents: RecordingRefs
    gain: float = 1.0
    """Factor that was applied to the source before it was encoded."""


async def run_job(attempt: Attempt) -> FinishedJob:
    """Run all steps of a job. Exceptions of the models propagate; `execution.failures` classifies them.

    A plan and codes in the checkpoint of an earlier attempt are used again. An analysis makes no sound.
    The sound is made again if latents are lost with the replica that stored them. A release that replaces all
    replicas can end that one before the next stage has a replica again, and a release must cost no attempt.
    """
    if attempt.spec.request.output is not Output.SONGS:
        return await analyse(attempt)
    source = None if attempt.spec.source is None else SourceAudio(attempt.draft, attempt.models, attempt.dit)
    song = await plan(attempt, source)
    codes = await compose(attempt, song)
    for left in reversed(range(SOUND_TRIES)):
        try:
            return await make_sound(attempt, source, song, codes)
        except Exception as error:
            if not left or not are_latents_lost(error):
                raise
            log_event("latents_lost", attempt.job.job_id, logging.WARNING, attempt=attempt.job.attempt)
            if source is not None:
                source.forget()
    raise AssertionError("the last try returns or raises")


async def make_sound(
    attempt: Attempt, source: SourceAudio | None, song: SongPlan, codes: list[tuple[int, ...] | None]
) -> FinishedJob:
    """Run the steps that pass latents on: encode → denoise → decode → result."""
    recordings = await encode(attempt, source)
    latents = await denoise(attempt, song, codes, recordings)
    used = [item.used for item in latents]
    marks = song_marks(attempt.job, song, codes, used[0].adapters, attempt.settings)
    files = await decode(attempt, song, latents, recordings.gain, marks)
    timed = [item.timed_lyrics for item in latents]
    result = job_result(
        attempt.job, song, codes, used, files, marks, attempt.timings, attempt.settings, timed
    )
    return FinishedJob(result, tuple(file.uri for file in files), sum(file.byte_count for file in files))


async def compose(attempt: Attempt, song: SongPlan) -> list[tuple[int, ...] | None]:
    """The audio codes of each item: the user's, the LM's, or none."""
    spec = attempt.spec
    if attempt.job.checkpoint.codes is not None:
        return list(attempt.job.checkpoint.codes)
    if not attempt.draft.wants_codes:
        return list(spec.codes) or [None] * len(spec.seeds)
    words = words_of(spec.request, song)

    def question(item: int, origin: Origin) -> ComposeRequest:
        return ComposeRequest(
            caption=words.caption,
            lyrics=words.lyrics,
            metadata=song.item_metadata(item),
            code_count=code_count(song.durations[item]),
            sampling=sampling(spec.request, spec.seeds[item], guided=True),
            backend=spec.request.lm_backend,
            language=song.metadata.language or words.language,
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


async def encode(attempt: Attempt, source: SourceAudio | None) -> Recordings:
    """Encode the source, unless that has been done for the plan, and the timbre reference to latents."""
    spec = attempt.spec
    latents = reference = None
    gain = 1.0
    if source or spec.reference:
        with attempt.stage("composing", "recordings") as origin:
            if source:
                encoded = await source.encoded(origin)
                latents, gain = encoded.latents, encoded.gain
            if spec.reference:
                request = EncodeRequest(spec.reference.uri, "reference", spec.seeds[0], origin=origin)
                reference = (await attempt.models.encode(request)).latents
    return Recordings(RecordingRefs(latents, reference), gain)


async def denoise(
    attempt: Attempt, song: SongPlan, codes: list[tuple[int, ...] | None], recordings: Recordings
) -> list[DenoisedLatents]:
    """Denoise the latents of each item."""
    spec = attempt.spec
    words = words_for_dit(spec.request, song)

    def question(item: int, origin: Origin) -> DenoiseRequest:
        frames = latent_frames(song.durations[item])
        return DenoiseRequest(
            task=song.task,
            instruction=instruction(spec.request, song.task),
            caption=words.caption,
            lyrics=words.lyrics,
            language=words.language,
            metadata=song.item_metadata(item),
            frames=frames,
            seed=spec.seeds[item],
            retake=retake(spec, item),
            morph=morph(spec),
            codes=codes[item],
            window=song.span.window(frames) if song.span else None,
            global_caption=spec.request.global_caption,
            options=diffusion_options(spec.request),
            adapters=spec.request.adapters,
            origin=origin,
        )

    with attempt.stage("denoising") as origin:
        questions = tuple(question(item, origin) for item in range(len(spec.seeds)))
        return await attempt.all_items(
            DenoisedLatents, attempt.models.denoise(attempt.dit, questions, recordings.latents)
        )


async def decode(
    attempt: Attempt,
    song: SongPlan,
    latents: list[DenoisedLatents],
    source_gain: float,
    marks: list[Marks],
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
            finish=finish(request),
            marks=marks[item],
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
    crossfade = repaint_mode(job.spec.request).splice_seconds
    if source is None or span is None or song.task is not Task.REPAINT or crossfade is None:
        return None
    return Splice(source.uri, span.start, span.end, span.pad_left, span.pad_right, crossfade, source_gain)
