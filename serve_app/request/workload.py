"""Estimation of a job's work before it runs."""

from configs.domain import LATENT_RATE, code_count, latent_frames
from deployments.checkpoints.catalog import MAX_CUSTOM_TURBO_STEPS, TURBO_STEPS, DiTCheckpoint, Variant
from deployments.common.messages import STAGES, Stage
from serve_app.request.capabilities import Limits
from serve_app.request.draft import Draft
from serve_app.request.planning import plan_request, unasked_duration
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.request.work import StageWork, Work, stage_of_model


def job_work(draft: Draft, limits: Limits) -> Work:
    """The work of a job in each stage, estimated before the LM has decided anything.

    A song without a given duration counts as `unasked_duration`.
    """
    spec = draft.spec
    dit, language_model = limits.dit(spec.request), limits.language_model(spec.request)
    assumed = unasked_duration(limits.lm_max_duration)
    durations = draft.durations or (assumed,) * len(spec.seeds)
    asks_lm = plan_request(draft, limits.lm_max_duration) is not None
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


def denoising_rows(spec: JobSpec, dit: DiTCheckpoint) -> int:
    """DiT rows of one song over all steps: one per step, and a second one where guidance acts."""
    timesteps = _timesteps(spec.request, dit)
    if spec.source is not None:
        begin = 1.0 - spec.request.cover_noise_strength
        first = min(range(len(timesteps)), key=lambda index: abs(timesteps[index] - begin))
        timesteps = timesteps[first:]
    request = spec.request
    if not dit.takes_guidance or request.guidance_scale <= 1.0:
        return len(timesteps)
    guided = sum(request.cfg_interval_start <= t <= request.cfg_interval_end for t in timesteps)
    return len(timesteps) + guided


def _timesteps(request: GenerateRequest, dit: DiTCheckpoint) -> list[float]:
    """The timesteps of `deployments.generator.schedules`, up to rounding."""
    if request.timesteps and dit.takes_timesteps:
        custom = [t for t in request.timesteps if t > 0]
        return custom[:MAX_CUSTOM_TURBO_STEPS] if dit.variant is Variant.TURBO else custom
    steps = TURBO_STEPS if dit.variant is Variant.TURBO else request.inference_steps
    shift = dit.shift(request.shift)
    even = (1.0 - step / steps for step in range(steps))
    return [shift * t / (1.0 + (shift - 1.0) * t) for t in even]
