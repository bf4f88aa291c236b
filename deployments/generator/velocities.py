"""Limits and smoothing of the velocities of one song, after guidance. Source: ACE-Step 1.5, April 2026."""

from dataclasses import dataclass

import torch

_TINY = 1e-10
"""The original adds this to norms, so that it never divides by 0."""


@dataclass(frozen=True)
class VelocityControl:
    """Changes each velocity [frames, channels] before the song follows it."""

    norm_threshold: float = 0.0
    """The greatest norm of a velocity, as a multiple of the norm of the latents; 0 sets no limit."""
    ema_factor: float = 0.0
    """The share of the velocity before in each one."""

    def limited(self, velocity: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """`velocity`, shortened where it is too long for `latents`."""
        if self.norm_threshold == 0:
            return velocity
        allowed = self.norm_threshold * (latents.norm() + _TINY) / (velocity.norm() + _TINY)
        shortened: torch.Tensor = velocity * allowed.clamp(max=1.0)
        return shortened

    def smoothed(self, velocity: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """`velocity` mixed with the one before; None stands for the first step."""
        if before is None or self.ema_factor == 0:
            return velocity
        return (1.0 - self.ema_factor) * velocity + self.ema_factor * before


FREE = VelocityControl()
"""Leaves every velocity as it is."""
