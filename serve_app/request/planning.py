"""From a request to the questions that the models are asked, and from a draft to a plan. Pure functions."""

from dataclasses import fields, replace

from configs.domain import INSTRUCTIONS, INSTRUMENTAL, TRACK_INSTRUCTIONS, Task, track_names
from configs.settings import ModelSettings
from deployments.common.messages import (
    REPAINT_MODES,
    DiffusionOptions,
    Finish,
    Metadata,
    Morph,
    PlanRequest,
    RepaintMode,
    Retake,
    Sampling,
)
from serve_app.request.draft import Draft
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan, SongWords
from serve_app.request.spec import JobSpec
from serve_app.request.writing import is_instrumental

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
    return INSTRUMENTAL if is_instrumental(request.lyrics) else request.lyrics


def own_words(request: GenerateRequest) -> SongWords:
    """The words of the request itself."""
    return SongWords(request.caption, lyrics_for_models(request), request.vocal_language)


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
    return DiffusionOptions(**options | {"repaint_mode": repaint_mode(request)})


def retake(spec: JobSpec, item: int) -> Retake | None:
    """The variation that an item is; None if its noise comes from its seed alone."""
    if not spec.retake_seeds:
        return None
    return Retake(spec.retake_seeds[item], spec.request.retake_variance)


def morph(spec: JobSpec) -> Morph | None:
    """The words and the steps of a morph; None if the job is not a morph."""
    request = spec.request
    if spec.source is None or not request.is_morph:
        return None
    instrumental = is_instrumental(request.flow_edit_source_lyrics)
    return Morph(
        request.flow_edit_source_caption,
        INSTRUMENTAL if instrumental else request.flow_edit_source_lyrics,
        request.flow_edit_n_min,
        request.flow_edit_n_max,
        request.flow_edit_n_avg,
    )


def finish(request: GenerateRequest) -> Finish:
    """The level and the fades of the request's songs."""
    peak_db = request.normalization_db if request.enable_normalization else None
    return Finish(peak_db, request.fade_in_duration, request.fade_out_duration)


def repaint_mode(request: GenerateRequest) -> RepaintMode:
    """How closely a repaint keeps its source; `repaint_strength` moves the balanced mode between the others.

    At a strength s the source holds for the first 1 − s of the steps, and the fades are 1 − s of those of the
    conservative mode.
    """
    if request.repaint_mode != "balanced":
        return REPAINT_MODES[request.repaint_mode]
    if request.repaint_strength >= 1.0:
        return REPAINT_MODES["aggressive"]
    kept, most = 1.0 - request.repaint_strength, REPAINT_MODES["conservative"]
    seconds = None if most.splice_seconds is None else kept * most.splice_seconds
    return RepaintMode(kept, round(kept * most.crossfade_frames), seconds)


def plan_request(
    draft: Draft, lm_max_duration: int, words: SongWords | None = None, may_word: bool = True
) -> PlanRequest | None:
    """The question for metadata; None where nothing is missing and no caption is wanted.

    `words` are those of the song, by default the request's own. Without `may_word` the LM words no caption
    and chooses no language, because it has just written them.
    """
    given, spec = draft.given, draft.spec
    request = spec.request
    is_complete = None not in (given.bpm, given.key_scale, given.time_signature, given.duration)
    may_word = may_word and spec.source is None
    wants_caption = may_word and request.use_cot_caption
    if is_complete and not (draft.wants_codes and wants_caption):
        return None
    words = words or own_words(request)
    return PlanRequest(
        caption=words.caption,
        lyrics=words.lyrics,
        language=words.language,
        given=given,
        wants_duration=given.duration is None,
        max_duration=lm_max_duration,
        sampling=sampling(request, spec.seeds[0], guided=request.lm_guide_metadata),
        backend=request.lm_backend,
        wants_caption=wants_caption,
        wants_language=may_word and request.use_cot_language,
    )


def song_plan(
    draft: Draft,
    planned: Metadata,
    lm_answered: bool,
    notes: tuple[str, ...] = (),
    words: SongWords | None = None,
) -> SongPlan:
    """Complete a draft with `planned`: the LM's answer, or the given metadata where nothing was asked.

    `words` are those of the song, by default the request's own. Raises ValueError where neither the draft nor
    `planned` has a duration.
    """
    durations = draft.durations
    if durations is None:
        if planned.duration is None:
            raise ValueError("a plan without a duration, and nothing else decides it")
        durations = (float(planned.duration),) * len(draft.spec.seeds)
    metadata = replace(planned, duration=None)
    words = words or own_words(draft.spec.request)
    return SongPlan(draft.task, metadata, durations, draft.span, lm_answered, notes, words=words)


def words_of(request: GenerateRequest, song: SongPlan) -> SongWords:
    """The words that the song is made from. The codes are composed from them."""
    return song.words or own_words(request)


def words_for_dit(request: GenerateRequest, song: SongPlan) -> SongWords:
    """The words that the DiT gets: with the caption and the language that the LM worded with the metadata."""
    words = words_of(request, song)
    return replace(
        words,
        caption=song.metadata.caption or words.caption,
        language=song.metadata.language or words.language,
    )


def unasked_duration(lm_max_duration: int) -> float:
    """Duration in seconds of a song without a given duration, before or without the LM's answer."""
    return min(FALLBACK_DURATION, lm_max_duration)


def fallback_plan(
    draft: Draft, lm_max_duration: int, notes: tuple[str, ...] = (), words: SongWords | None = None
) -> SongPlan:
    """The plan while the LM is down: the given metadata, and a fixed duration where none is given."""
    seconds = unasked_duration(lm_max_duration)
    given = draft.given
    planned = given if given.duration is not None else replace(given, duration=seconds)
    notes = (*notes, FALLBACK_NOTE.format(seconds=seconds))
    return replace(song_plan(draft, planned, False, notes, words), is_fallback=True)
