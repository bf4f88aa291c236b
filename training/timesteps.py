"""Where the DiT learns to denoise: as often near each timestep as the turbo schedule asks for it there."""

import torch

from deployments.checkpoints.catalog import TURBO_STEPS, Variant
from deployments.generator.schedules import schedule, warped

_SHIFT = 3.0
"""That of the default turbo checkpoint; the student learns no other."""

TURBO_TIMESTEPS = torch.tensor((*schedule(Variant.TURBO, TURBO_STEPS, _SHIFT), 0.0))
"""[9], from pure noise to none."""


def draw_timesteps(count: int, generator: torch.Generator) -> torch.Tensor:
    """[count] from even ones, warped like the schedule's: half of them are above 0.75.

    Around a half (logit-normal), where most models are taught, this one would hardly see the noise that half
    of its eight steps begin with, and there is nothing but codes, music around or a reference to go by then.
    """
    return warped(torch.rand(count, generator=generator), _SHIFT)
