"""Draws the timesteps at which the DiT learns to denoise, with the density of the turbo schedule."""

import torch

from deployments.checkpoints.catalog import TURBO_STEPS, Variant
from deployments.generator.schedules import schedule, warped

_SHIFT = 3.0
"""Shift of the default turbo checkpoint. The student learns no other."""

TURBO_TIMESTEPS = torch.tensor((*schedule(Variant.TURBO, TURBO_STEPS, _SHIFT), 0.0))
"""[9], from pure noise to none."""


def draw_timesteps(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw [count] uniform timesteps, warped like those of the schedule. Half of them are above 0.75.

    Most models are trained around a half (logit-normal). This one would then hardly see the noise levels of
    the first four of its eight steps, at which codes, context audio and references are the only information.
    """
    drawn: torch.Tensor = warped(torch.rand(count, generator=generator), _SHIFT)
    return drawn
