"""The draft of a job: everything that its request and recordings decide before the LM answers."""

from dataclasses import dataclass, replace

from configs.domain import CODE_RATE, SOURCE_TASKS, WINDOW_TASKS, Task
from deployments.common.messages import Metadata
from serve_app.request.repainting import RepaintSpan, repaint_span
from serve_app.request.schemas import GenerateRequest, Output
from serve_app.request.spec import JobSpec, Recording


@dataclass(frozen=True)
class Draft:
    """A job specification with the decisions that follow from it.

    It is derived and never stored: it is made when a job is submitted, and each attempt makes it again from
    the stored specification.
    """

    spec: JobSpec
    task: Task
    """The task of the DiT. A job with audio codes is a cover of them."""
    wants_codes: bool
    """Whether the LM writes the audio codes of this job."""
    span: RepaintSpan | None
    """The part of the source that is renewed; None for tasks on whole songs."""
    durations: tuple[float, ...] | None
    """Seconds of each item, decided by the source, the user or given codes; None leaves them to the LM."""
    given: Metadata
    """The metadata that the LM need not be asked for. Its duration is that of the first item."""


def draft_of(spec: JobSpec) -> Draft:
    """Make all these decisions, here alone. Raises ValueError where a repaint has nothing to renew."""
    span = _span(spec)
    durations = _durations(spec, span)
    return Draft(
        spec=spec,
        task=_task(spec),
        wants_codes=_wants_codes(spec),
        span=span,
        durations=durations,
        given=Metadata(
            bpm=spec.request.bpm,
            key_scale=spec.request.key_scale or None,
            time_signature=spec.request.time_signature or None,
            duration=durations[0] if durations else None,
        ),
    )


def works_on_source(request: GenerateRequest) -> bool:
    """Whether the request uses source audio, if it has any."""
    if request.output is Output.SONGS:
        return request.task_type in SOURCE_TASKS or request.is_morph
    return request.output.needs_source


def source_seconds(source: Recording, request: GenerateRequest) -> float:
    """Seconds of the source. A silent one of lego counts as long as the song that is asked for."""
    if not source.silent or request.task_type is not Task.LEGO:
        return source.seconds
    return max(source.seconds, request.repainting_end or 0.0, request.audio_duration or 0.0)


def _task(spec: JobSpec) -> Task:
    if spec.source is not None:
        return Task(spec.request.task_type)
    return Task.COVER if spec.codes or spec.request.thinking else Task.TEXT2MUSIC


def _wants_codes(spec: JobSpec) -> bool:
    request = spec.request
    return request.output is Output.SONGS and request.thinking and spec.source is None and not spec.codes


def _span(spec: JobSpec) -> RepaintSpan | None:
    source, request = spec.source, spec.request
    if source is None or request.output is not Output.SONGS or Task(request.task_type) not in WINDOW_TASKS:
        return None
    seconds = source_seconds(source, request)
    span = repaint_span(request.repainting_start, request.repainting_end, seconds)
    return replace(span, pad_right=span.pad_right + seconds - source.seconds)


def _durations(spec: JobSpec, span: RepaintSpan | None) -> tuple[float, ...] | None:
    items = len(spec.seeds)
    if spec.source is not None:
        seconds = span.total_seconds(spec.source.seconds) if span else spec.source.seconds
        return (seconds,) * items
    if spec.request.audio_duration is not None:
        return (spec.request.audio_duration,) * items
    if spec.codes:
        return tuple(len(codes) / CODE_RATE for codes in spec.codes)
    return None
