"""From a request to the questions that the models are asked, and from a draft to a plan. Pure functions."""

from dataclasses import fields, replace

from configs.domain import INSTRUCTIONS, INSTRUMENTAL, TRACK_INSTRUCTIONS, Task, track_names
from configs.settings import ModelSettings
from deployments.common.messages import REPAINT_MODES, DiffusionOptions, Metadata, PlanRequest, Sampling
from serve_app.request.draft import Draft
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec

FALLBACK_DURATION = 30.0
"""Duration in seconds of a song without a given duration while the LM is down."""
FALLBACK_NOTE = (
    "The language model was not available: missing metadata was left to the music model "
    "(a missing duration is {seconds:g} s)."
)


def language_model(request: GenerateRequest, models: ModelSettings) -> str:
    """The name of the LM that a request asks for."""
    return request.lm_model_path or models.language_models[0]


def dit_model(spec: JobSpec, models: ModelSettings) -> str:
    """The name of the DiT that makes a job's songs: the default for a job of an earlier release."""
    return spec.dit or models.dits[0]


def lyrics_for_models(request: GenerateRequest) -> str:
    """The lyrics; every notation for instrumental music becomes INSTRUMENTAL."""
    if request.lyrics.strip().lower() in {"", "[inst]", "[instrumental]"}:
        return INSTRUMENTAL
    return request.lyrics


def unconditional_text(request: GenerateRequest) -> str:
    """The user's texts in the longest unconditional prompt of classifier-free guidance."""
    if request.lm_guide_metadata:  # then the unconditional prompt keeps the lyrics
        return request.lm_negative_prompt + lyrics_for_models(request)
    return request.lm_negative_prompt


def sampling(request: GenerateRequest, seed: int, guided: bool) -> Sampling:
    """The sampling options of the request's `lm_*` fields. Unless `guided`, cfg_scale is 1."""
    return Sampling(
        seed=seed,
        temperature=request.lm_temperature,
        top_k=request.lm_top_k or 0,
        top_p=request.lm_top_p,
        repetition_penalty=request.lm_repetition_penalty,
        cfg_scale=max(1.0, request.lm_cfg_scale) if guided else 1.0,
        negative_prompt=request.lm_negative_prompt,
    )


def instruction(request: GenerateRequest, task: Task) -> str:
    """The user's instruction. The default is replaced by the task's, with the tracks that it works on."""
    if request.instruction != INSTRUCTIONS[Task.TEXT2MUSIC]:
        return request.instruction
    tracks = request.track_classes if task is Task.COMPLETE else (request.track_name,)
    names = track_names(track for track in tracks if track)
    if names and task in TRACK_INSTRUCTIONS:
        return TRACK_INSTRUCTIONS[task].format(tracks=names)
    return INSTRUCTIONS[task]


def diffusion_options(request: GenerateRequest) -> DiffusionOptions:
    """The request's fields for the DiT, which have the same names in both; the repaint mode by its name."""
    options = {option.name: getattr(request, option.name) for option in fields(DiffusionOptions)}
    return DiffusionOptions(**options | {"repaint_mode": REPAINT_MODES[request.repaint_mode]})


def plan_request(draft: Draft, lm_max_duration: int) -> PlanRequest | None:
    """The question to the LM; None where nothing is missing."""
    given, spec = draft.given, draft.spec
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


def song_plan(draft: Draft, planned: Metadata, lm_answered: bool, notes: tuple[str, ...] = ()) -> SongPlan:
    """Complete a draft with `planned`: the LM's answer, or the given metadata where nothing was asked.

    Raises ValueError where neither the draft nor `planned` has a duration.
    """
    durations = draft.durations
    if durations is None:
        if planned.duration is None:
            raise ValueError("a plan without a duration, and nothing else decides it")
        durations = (float(planned.duration),) * len(draft.spec.seeds)
    metadata = replace(planned, duration=None)
    return SongPlan(draft.task, metadata, durations, draft.span, lm_answered, notes)


def unasked_duration(lm_max_duration: int) -> float:
    """Duration in seconds of a song without a given duration, before or without the LM's answer."""
    return min(FALLBACK_DURATION, lm_max_duration)


def fallback_plan(draft: Draft, lm_max_duration: int) -> SongPlan:
    """The plan while the LM is down: the given metadata, and a fixed duration where none is given."""
    seconds = unasked_duration(lm_max_duration)
    given = draft.given
    planned = given if given.duration is not None else replace(given, duration=seconds)
    song = song_plan(draft, planned, lm_answered=False, notes=(FALLBACK_NOTE.format(seconds=seconds),))
    return replace(song, is_fallback=True)
