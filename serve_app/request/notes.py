"""Notes for a job's `status_message` about fields that have no effect or a different one."""

from collections.abc import Iterable, Iterator

from configs.domain import INSTRUCTIONS, Task
from deployments.checkpoints.catalog import DiTCheckpoint
from serve_app.request.draft import works_on_source
from serve_app.request.fields import RANDOM_SEED
from serve_app.request.schemas import GenerateRequest, Output
from serve_app.request.timesteps import steps_turned_back
from serve_app.request.writing import rewritable, wants_sample

_GUIDANCE_FIELDS = ("use_adg", "cfg_interval_start", "cfg_interval_end")
_CORRECTION_FIELDS = ("dcw_mode", "dcw_scaler", "dcw_high_scaler", "dcw_wavelet")
_MORPH_FIELDS = (
    "flow_edit_source_caption",
    "flow_edit_source_lyrics",
    "flow_edit_n_min",
    "flow_edit_n_max",
    "flow_edit_n_avg",
)
_UNUSED_BY_MORPHS = (
    "dcw_enabled",
    *_CORRECTION_FIELDS,
    "sampler_mode",
    "infer_method",
    "use_adg",
    "retake_variance",
    "audio_cover_strength",
)
_MODES_OF = {"dcw_high_scaler": {"double"}, "dcw_wavelet": {"double", "low", "high"}}
"""Modes of the correction that use a field, for fields that not every mode uses."""
_TASKS_OF = {
    "repaint_mode": {Task.REPAINT},
    "repaint_strength": {Task.REPAINT},
    "cover_nofsq": {Task.COVER},
    "track_name": {Task.LEGO, Task.EXTRACT},
    "track_classes": {Task.COMPLETE},
}
"""Tasks that use a field, for fields that not every task uses."""


def without_effect(
    request: GenerateRequest,
    has_source: bool,
    has_codes: bool,
    dit: DiTCheckpoint,
    is_source_silent: bool = False,
) -> Iterator[str]:
    """One sentence for each given field that has no effect. Analyses use few fields, and name none."""
    if request.output is not Output.SONGS:
        return
    if request.use_random_seed and request.seed != (RANDOM_SEED,):
        yield "seed was ignored: use_random_seed is true."
    if request.use_format and not rewritable(request.caption, request.lyrics) and not wants_sample(request):
        yield "use_format was ignored: there is no caption and there are no lyrics to rewrite."
    yield from _of_the_source(request, has_source, has_codes, is_source_silent)
    yield from _of_the_schedule(request, dit)
    if request.is_morph:
        yield from _of_a_morph(request)
    else:
        yield from _of_the_sampler(request, dit, has_source and works_on_source(request))
    yield from _of_the_output(request)
    yield from _of_the_task(request, has_source)
    yield from _of_morphs(request)
    yield from _of_stems(request, dit)


def moved_start(request: GenerateRequest, source_seconds: float) -> Iterator[str]:
    """A sentence where `repaint_span` moved the start of the renewed part to the end of the source."""
    if request.repainting_start > source_seconds:
        seconds = round(source_seconds, 2)
        yield f"The new part begins where the source ends, at {seconds:g} s: repainting_start is after that."


def _of_the_source(
    request: GenerateRequest, has_source: bool, has_codes: bool, is_source_silent: bool
) -> Iterator[str]:
    task = request.task_type
    uses_source = has_source and works_on_source(request)
    if has_source and not uses_source:
        yield f"The source audio was ignored: task_type is {task}."
    if uses_source:
        if has_codes:
            yield f"audio_code_string was ignored: {task} works on the source audio."
        elif request.thinking:
            yield f"thinking wrote no audio codes: {task} works on the source audio."
        is_extended = is_source_silent and task is Task.LEGO
        if request.audio_duration is not None and not is_extended:
            yield f"audio_duration was ignored: {task} keeps the length of the source audio."
    elif has_codes and not request.thinking:
        yield "audio_code_string was ignored: thinking is false."
        if task is Task.COVER:
            yield "Without source audio and codes the cover was made from the text alone."


def _of_the_schedule(request: GenerateRequest, dit: DiTCheckpoint) -> Iterator[str]:
    if request.timesteps is not None and not dit.takes_timesteps(request.sampling):
        yield f"timesteps was ignored: {dit.name} runs its own schedule in the sampling {request.sampling}."
    elif request.timesteps is not None and request.shift is not None:
        yield "shift was ignored: timesteps was given."
    if not dit.takes_guidance:
        for name in _given(request, _GUIDANCE_FIELDS):
            yield f"{name} was ignored: {dit.name} takes no guidance."


def _of_the_sampler(request: GenerateRequest, dit: DiTCheckpoint, has_source: bool) -> Iterator[str]:
    if request.sampler_mode != "euler" and request.infer_method == "sde":
        yield f"sampler_mode was ignored: infer_method is {request.infer_method}."
    if not dit.corrects(request.dcw_enabled, request.sampling):
        for name in _given(request, _CORRECTION_FIELDS):
            yield f"{name} was ignored: no step is corrected, because {_why_uncorrected(request, dit)}."
        return
    for name in _given(request, _MODES_OF):
        if request.dcw_mode not in _MODES_OF[name]:
            yield f"{name} was ignored: dcw_mode is {request.dcw_mode}."
    if turned_back := steps_turned_back(request, dit, has_source):
        yield (
            f"The correction took back more than {turned_back} of the steps went: fewer steps or a smaller "
            "dcw_scaler may sound better."
        )


def _of_a_morph(request: GenerateRequest) -> Iterator[str]:
    for name in _given(request, _UNUSED_BY_MORPHS):
        yield f"{name} was ignored: a morph does not use it."


def _why_uncorrected(request: GenerateRequest, dit: DiTCheckpoint) -> str:
    if request.dcw_enabled is False:
        return "dcw_enabled is false"
    if dit.is_corrected:
        return f"sampling is {request.sampling} and dcw_enabled was not given"
    return f"{dit.name} is better without and dcw_enabled was not given"


def _of_the_output(request: GenerateRequest) -> Iterator[str]:
    if not request.enable_normalization:
        for name in _given(request, ("normalization_db",)):
            yield f"{name} was ignored: enable_normalization is false."
    if request.retake_variance == 0 and not request.is_morph:
        for name in _given(request, ("retake_seed",)):
            yield f"{name} was ignored: retake_variance is 0."


def _of_the_task(request: GenerateRequest, has_source: bool) -> Iterator[str]:
    task = request.task_type
    if request.cover_noise_strength > 0 and not (has_source and works_on_source(request)):
        yield "cover_noise_strength was ignored: there is no source audio to begin with."
    elif request.cover_noise_strength > 0 and request.is_morph:
        yield "cover_noise_strength was ignored: a morph begins with its source."
    for name in _given(request, _TASKS_OF):
        if task not in _TASKS_OF[name]:
            yield f"{name} was ignored: task_type is {task}."
        elif name == "repaint_strength":
            if request.repaint_mode != "balanced":
                yield f"repaint_strength was ignored: repaint_mode is {request.repaint_mode}."
        elif name != "repaint_mode" and request.instruction != INSTRUCTIONS[Task.TEXT2MUSIC]:
            yield f"{name} was ignored: instruction was given."


def _of_morphs(request: GenerateRequest) -> Iterator[str]:
    if request.is_morph:
        return
    if request.flow_edit_morph:
        yield f"flow_edit_morph was ignored: task_type is {request.task_type}."
    for name in _given(request, _MORPH_FIELDS):
        yield f"{name} was ignored: the song is no morph."


def _of_stems(request: GenerateRequest, dit: DiTCheckpoint) -> Iterator[str]:
    if request.global_caption and not dit.is_for_stems:
        yield f"global_caption was ignored: {dit.name} is no model for stems."


def _given(request: GenerateRequest, names: Iterable[str]) -> Iterator[str]:
    fields = GenerateRequest.model_fields
    return (name for name in names if getattr(request, name) != fields[name].default)
