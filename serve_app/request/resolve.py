"""From a valid request to a job: seeds are drawn, recordings and codes without effect are dropped."""

import secrets
from dataclasses import replace

from configs.domain import CODE_RATE, Task, code_count
from serve_app.request.capabilities import Limits
from serve_app.request.codes import codes_per_song
from serve_app.request.draft import Draft, draft_of, source_seconds, works_on_source
from serve_app.request.errors import WindowTooLongError, invalid
from serve_app.request.fields import MAX_SEED, RANDOM_SEED
from serve_app.request.notes import moved_start, without_effect
from serve_app.request.schemas import GenerateRequest, Output
from serve_app.request.spec import JobSpec, Recording


def job_draft(
    request: GenerateRequest, source: Recording | None, reference: Recording | None, limits: Limits
) -> Draft:
    """The draft of the job that a request makes, after `apply_limits`. Raises RequestValidationError."""
    batch_size = request.batch_size or limits.default_batch_size
    try:
        codes = codes_per_song(request.audio_code_string, batch_size)
    except ValueError as error:
        raise invalid("audio_code_string", str(error), "audio_codes") from error
    if source is None:
        _check_without_source(request, codes)
    uses_source = works_on_source(request) and source is not None
    uses_codes = request.output is Output.SONGS and request.thinking and not uses_source
    is_reseeded = request.is_morph and request.retake_seed != (RANDOM_SEED,)
    varies = request.output is Output.SONGS and (request.retake_variance > 0 or is_reseeded)
    spec = JobSpec(
        request=request.model_copy(update={"audio_code_string": ""}),  # it has been parsed and may be long
        seeds=song_seeds(request, batch_size),
        retake_seeds=seeds_per_song("retake_seed", request.retake_seed, batch_size) if varies else (),
        codes=_usable_codes(request, codes, limits) if uses_codes else (),
        source=source if uses_source else None,
        reference=reference,
        dit=limits.dit(request).name,
        notes=tuple(
            without_effect(
                request,
                has_source=source is not None,
                has_codes=bool(codes),
                dit=limits.dit(request),
                is_source_silent=source is not None and source.silent,
            )
        ),
    )
    draft = _checked_draft(spec, limits)
    if spec.source is not None and draft.span is not None:
        notes = (*spec.notes, *moved_start(request, source_seconds(spec.source, request)))
        draft = replace(draft, spec=replace(spec, notes=notes))
    return draft


def takes_silence(request: GenerateRequest) -> bool:
    """Whether the source may be silent. A track cannot be extracted from silence."""
    return request.allow_silent_source and request.task_type is not Task.EXTRACT


def song_seeds(request: GenerateRequest, batch_size: int) -> tuple[int, ...]:
    """One seed per item (contract §1.2). Raises RequestValidationError where a list has another length."""
    given = (RANDOM_SEED,) if request.use_random_seed else request.seed
    return seeds_per_song("seed", given, batch_size)


def seeds_per_song(field: str, given: tuple[int, ...], batch_size: int) -> tuple[int, ...]:
    """One seed per item of those that `field` gives: a list, or the first one.

    Raises RequestValidationError where a list has another length.
    """
    if len(given) == 1:
        first = _decided(given[0])
        return tuple((first + song) % (MAX_SEED + 1) for song in range(batch_size))
    if len(given) != batch_size:
        raise invalid(field, f"A list should have one seed per song: {batch_size}, not {len(given)}")
    return tuple(map(_decided, given))


def _decided(seed: int) -> int:
    return secrets.randbelow(MAX_SEED + 1) if seed == RANDOM_SEED else seed


def _check_without_source(request: GenerateRequest, codes: tuple[tuple[int, ...], ...]) -> None:
    """Raises RequestValidationError if the request needs source audio."""
    if request.output.needs_source:
        raise invalid("src_audio", f"Output {request.output} requires source audio", "missing")
    if request.is_morph:
        raise invalid("src_audio", "A morph requires source audio", "missing")
    if not works_on_source(request):
        return
    if request.task_type is not Task.COVER:
        raise invalid("src_audio", f"Task {request.task_type} requires source audio", "missing")
    if not codes and not request.thinking:
        raise invalid("src_audio", "Task cover requires source audio, or audio codes", "missing")


def _checked_draft(spec: JobSpec, limits: Limits) -> Draft:
    """Raises RequestValidationError where a repaint renews nothing or makes the song too long."""
    try:
        draft = draft_of(spec)
    except ValueError as error:
        raise invalid("repainting_end", f"The repainted part {error}") from error
    span = draft.span
    if span and spec.source and span.total_seconds(spec.source.seconds) > limits.max_duration:
        message = f"The extended song would be longer than {limits.max_duration:g} seconds"
        if span.pad_left > span.pad_right:
            room = limits.max_duration - spec.source.seconds - span.pad_right
            raise WindowTooLongError("repainting_start", message, min(0.0, -room))
        # Where the part before the source is too long as well, the start is moved afterwards.
        nearest = max(spec.source.seconds, limits.max_duration - span.pad_left)
        raise WindowTooLongError("repainting_end", message, nearest)
    return draft


def _usable_codes(
    request: GenerateRequest, codes: tuple[tuple[int, ...], ...], limits: Limits
) -> tuple[tuple[int, ...], ...]:
    """The given codes, cut to `audio_duration` where it is given. Raises RequestValidationError."""
    if request.audio_duration is not None:
        return tuple(run[: code_count(request.audio_duration)] for run in codes)
    longest = max(map(len, codes), default=0)
    if longest > limits.max_code_count:
        raise invalid(
            "audio_code_string",
            f"{longest} codes last {longest / CODE_RATE:g} seconds, longer than {limits.max_duration:g}; "
            "give audio_duration to use only the first of them",
        )
    return codes
