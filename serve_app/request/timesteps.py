"""The timesteps that a DiT runs for a request, without the rounding of its dtype."""

from itertools import pairwise

from deployments.checkpoints.catalog import DiTCheckpoint
from deployments.generator.schedules import Schedule, heun_steps, schedule
from serve_app.request.schemas import GenerateRequest


def step_timesteps(request: GenerateRequest, dit: DiTCheckpoint, has_source: bool) -> Schedule:
    """The timestep at the beginning of each step."""
    return schedule(
        dit.variant,
        request.inference_steps,
        dit.shift(request.shift, request.sampling),
        request.timesteps,
        begin=1.0 - request.cover_noise_strength if has_source else 1.0,
        sampling=request.sampling,
    )


def forward_timesteps(request: GenerateRequest, dit: DiTCheckpoint, has_source: bool) -> Schedule:
    """The timestep of each forward: those of the steps, and of the ends of steps of Heun's method."""
    steps = step_timesteps(request, dit, has_source)
    ends = (*steps[1:], 0.0)
    return steps + ends[: heun_steps(dit.variant, request.sampler_mode, request.infer_method, len(steps))]


def steps_turned_back(request: GenerateRequest, dit: DiTCheckpoint, has_source: bool) -> int:
    """The number of steps after the first whose correction takes back more than the step went.

    A step of Euler's method from t to u moves the latents by t − u times the velocity, and the correction
    moves a band of them back by u times its strength at t.
    """
    if not dit.corrects(request.dcw_enabled, request.sampling):
        return 0
    if request.infer_method != "ode" or request.sampler_mode != "euler":
        return 0
    steps = (*step_timesteps(request, dit, has_source), 0.0)
    return sum(_strength(request, t) * u > t - u for t, u in list(pairwise(steps))[1:])


def _strength(request: GenerateRequest, t: float) -> float:
    """The strength of the correction at timestep t, in the band where it is the greatest."""
    match request.dcw_mode:
        case "low":
            return t * request.dcw_scaler
        case "high":
            return (1.0 - t) * request.dcw_scaler
        case "double":
            return max(t * request.dcw_scaler, (1.0 - t) * request.dcw_high_scaler)
        case "pix":
            return request.dcw_scaler
