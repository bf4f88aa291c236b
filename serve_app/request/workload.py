"""Estimation of a job's work before it runs."""

from configs.domain import LATENT_RATE, code_count, latent_frames
from deployments.checkpoints.catalog import DiTCheckpoint
from deployments.common.messages import STAGES, Stage
from deployments.generator.schedules import Schedule
from serve_app.request.capabilities import Limits
from serve_app.request.draft import Draft
from serve_app.request.planning import plan_request, unasked_duration
from serve_app.request.schemas import GenerateRequest, Output
from serve_app.request.spec import JobSpec
from serve_app.request.timesteps import forward_timesteps, step_timesteps
from serve_app.request.work import StageWork, Work, stage_of_model
from serve_app.request.writing import wants_sample


def job_work(draft: Draft, limits: Limits) -> Work:
    """The work of a job in each stage, estimated before the LM has decided anything.

    A song without a given duration counts as `unasked_duration`. An analysis only asks the LM.
    """
    spec = draft.spec
    dit, language_model = limits.dit(spec.request), limits.language_model(spec.request)
    if spec.request.output is not Output.SONGS:
        return _analysis_work(language_model if len(limits.language_models) > 1 else None)
    assumed = unasked_duration(limits.lm_max_duration)
    durations = draft.durations or (assumed,) * len(spec.seeds)
    is_complete = plan_request(draft, limits.lm_max_duration) is None
    asks_lm = not is_complete or wants_sample(spec.request) or spec.request.use_format
    codes = sum(map(code_count, durations)) if draft.wants_codes else 0
    seconds = sum(latent_frames(duration) / LATENT_RATE for duration in durations)
    units = {
        "composing": codes,
        "denoising": seconds * denoising_rows(spec, dit),
        "decoding": seconds,
        "encoding": sum(durations),
    }
    longest = max(durations) / sum(durations)
    skipped = {stage for stage, needed in (("planning", asks_lm), ("composing", codes > 0)) if not needed}
    parts: dict[Stage, StageWork] = {
        stage: (float(stage not in skipped), float(units.get(stage, 0.0)), longest * units.get(stage, 0.0))
        for stage in STAGES
    }
    calls, all_units, item_units = zip(*parts.values(), strict=True)
    checkpoints: dict[Stage, str] = {}
    if len(limits.language_models) > 1:
        checkpoints |= {"planning": language_model, "composing": language_model}
    if len(limits.dits) > 1:
        checkpoints |= {"denoising": dit.name}
    models = {
        stage_of_model(stage, checkpoint): parts[stage]
        for stage, checkpoint in checkpoints.items()
        if stage not in skipped
    }
    return Work(1, calls, all_units, item_units, models)


def _analysis_work(language_model: str | None) -> Work:
    """The work of an analysis. `language_model` is None on a server with a single one."""
    calls = tuple(float(stage == "planning") for stage in STAGES)
    models = {stage_of_model("planning", language_model): (1.0, 0.0, 0.0)} if language_model else {}
    return Work(1, calls, models=models)


def denoising_rows(spec: JobSpec, dit: DiTCheckpoint) -> int:
    """DiT rows of one song over all forwards: one each, and a second one where guidance acts."""
    request = spec.request
    has_source = spec.source is not None
    if has_source and request.is_morph:
        return _morph_rows(request, dit)
    return _rows_at(forward_timesteps(request, dit, has_source), request, dit)


def _rows_at(timesteps: Schedule, request: GenerateRequest, dit: DiTCheckpoint) -> int:
    if not dit.takes_guidance or request.guidance_scale <= 1.0:
        return len(timesteps)
    guided = sum(request.cfg_interval_start <= t <= request.cfg_interval_end for t in timesteps)
    return len(timesteps) + guided


def _morph_rows(request: GenerateRequest, dit: DiTCheckpoint) -> int:
    """DiT rows of one morph: two for each draw while it follows its source, and then one for each step."""
    steps = step_timesteps(request, dit, has_source=False)
    first, end = (int(len(steps) * share) for share in (request.flow_edit_n_min, request.flow_edit_n_max))
    morphing = 2 * request.flow_edit_n_avg * _rows_at(steps[first:end], request, dit)
    return morphing + _rows_at(steps[max(first, end) :], request, dit)
