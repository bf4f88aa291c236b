"""What a job needs before any sound is made: its task, lengths and metadata. Pure decisions, no models."""

from dataclasses import replace

from configs.domain import (
    CODE_RATE,
    INSTRUCTIONS,
    INSTRUMENTAL,
    TRACK_INSTRUCTIONS,
    Task,
    track_names,
)
from configs.settings import ModelSettings
from deployments.common.messages import Metadata, PlanRequest, Sampling
from serve_app.request.repainting import RepaintSpan, repaint_span
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec

FALLBACK_DURATION = 30.0
"""Seconds, for a song whose length nobody gave while the LM is down."""
FALLBACK_NOTE = (
    "The language model was not available: missing metadata was left to the music model "
    "(a missing duration is {seconds:g} s)."
)
WINDOW_TASKS = frozenset({Task.REPAINT, Task.LEGO})
"""Tasks that renew a part of the source."""


def language_model(request: GenerateRequest, models: ModelSettings) -> str:
    """The name of the LM that a job asks for."""
    return request.lm_model_path or models.language_models[0]


def lyrics_for_models(request: GenerateRequest) -> str:
    """The lyrics, or the one way in which all models are told that nobody sings."""
    if request.lyrics.strip().lower() in {"", "[inst]", "[instrumental]"}:
        return INSTRUMENTAL
    return request.lyrics


def unconditional_text(request: GenerateRequest) -> str:
    """The user's words in the longest prompt that guidance steers away from."""
    if request.lm_guide_metadata:  # then the prompt keeps the lyrics
        return request.lm_negative_prompt + lyrics_for_models(request)
    return request.lm_negative_prompt


def sampling(request: GenerateRequest, seed: int, guided: bool) -> Sampling:
    """The request's `lm_*` fields; cfg_scale 1 where not `guided`."""
    return Sampling(
        seed=seed,
        temperature=request.lm_temperature,
        top_k=request.lm_top_k or 0,
        top_p=request.lm_top_p,
        repetition_penalty=request.lm_repetition_penalty,
        cfg_scale=max(1.0, request.lm_cfg_scale) if guided else 1.0,
        negative_prompt=request.lm_negative_prompt,
    )


def wants_codes(spec: JobSpec) -> bool:
    """Whether the LM writes this job's audio codes."""
    return spec.request.thinking and spec.source is None and not spec.codes


def dit_task(spec: JobSpec) -> Task:
    """What the DiT does for a job."""
    if spec.source is not None:
        return Task(spec.request.task_type)
    return Task.COVER if spec.codes or spec.request.thinking else Task.TEXT2MUSIC


def instruction(request: GenerateRequest, task: Task) -> str:
    """The user's own sentence, or in place of the default the task's, with the tracks that it works on."""
    if request.instruction != INSTRUCTIONS[Task.TEXT2MUSIC]:
        return request.instruction
    tracks = request.track_classes if task is Task.COMPLETE else (request.track_name,)
    names = track_names(track for track in tracks if track)
    if names and task in TRACK_INSTRUCTIONS:
        return TRACK_INSTRUCTIONS[task].format(tracks=names)
    return INSTRUCTIONS[task]


def span_of(spec: JobSpec) -> RepaintSpan | None:
    """The part of the source that is renewed; None for tasks on whole songs."""
    if spec.source is None or Task(spec.request.task_type) not in WINDOW_TASKS:
        return None
    return repaint_span(spec.request.repainting_start, spec.request.repainting_end, spec.source.seconds)


def known_durations(spec: JobSpec, span: RepaintSpan | None) -> tuple[float, ...] | None:
    """Seconds of each item as far as source, user or given codes decide them; None leaves it to the LM."""
    items = len(spec.seeds)
    if spec.source is not None:
        seconds = span.total_seconds(spec.source.seconds) if span else spec.source.seconds
        return (seconds,) * items
    if spec.request.audio_duration is not None:
        return (spec.request.audio_duration,) * items
    if spec.codes:
        return tuple(len(codes) / CODE_RATE for codes in spec.codes)
    return None


def given_metadata(spec: JobSpec, durations: tuple[float, ...] | None) -> Metadata:
    """What the LM need not be asked for."""
    request = spec.request
    return Metadata(
        bpm=request.bpm,
        key_scale=request.key_scale or None,
        time_signature=request.time_signature or None,
        duration=durations[0] if durations else None,
    )


def plan_request(spec: JobSpec, given: Metadata, lm_max_duration: int) -> PlanRequest | None:
    """The question to the LM; None where nothing is missing."""
    if None not in (given.bpm, given.key_scale, given.time_signature, given.duration):
        return None
    request = spec.request
    return PlanRequest(
        caption=request.caption,
        lyrics=lyrics_for_models(request),
        language=request.vocal_language,
        given=given,
        wants_duration=given.duration is None,
        max_duration=lm_max_duration,
        sampling=sampling(request, spec.seeds[0], guided=request.lm_guide_metadata),
        backend=request.lm_backend,
    )


def song_plan(spec: JobSpec, planned: Metadata, lm_answered: bool, notes: tuple[str, ...] = ()) -> SongPlan:
    """Put the LM's answer, or the given metadata where nothing was asked, together with what is known.

    `planned` carries a duration unless source, user or codes decide it.
    """
    span = span_of(spec)
    durations = known_durations(spec, span)
    if durations is None:
        if planned.duration is None:
            raise ValueError("a plan without a duration, and nothing else decides it")
        durations = (float(planned.duration),) * len(spec.seeds)
    return SongPlan(dit_task(spec), replace(planned, duration=None), durations, span, lm_answered, notes)


def unasked_duration(lm_max_duration: int) -> float:
    """Seconds of a song whose length nobody gave, before the LM decides it or without it."""
    return min(FALLBACK_DURATION, lm_max_duration)


def fallback_plan(spec: JobSpec, given: Metadata, lm_max_duration: int) -> SongPlan:
    """The plan while the LM is down: what is given, and a fixed duration where none is."""
    seconds = unasked_duration(lm_max_duration)
    planned = given if given.duration is not None else replace(given, duration=seconds)
    song = song_plan(spec, planned, lm_answered=False, notes=(FALLBACK_NOTE.format(seconds=seconds),))
    return replace(song, is_fallback=True)
