"""Timesteps in the dtype of a model."""

from dataclasses import dataclass

import torch

from deployments.generator.schedules import Schedule, warped


@dataclass(frozen=True)
class ModelArithmetic:
    """Computes timesteps in a dtype, as the original models do."""

    dtype: torch.dtype = torch.float32

    def shifted(self, steps: int, shift: float) -> Schedule:
        even = torch.linspace(1.0, 0.0, steps + 1, dtype=self.dtype)[:-1]
        return tuple(warped(even, shift).tolist())

    def rounded(self, timesteps: Schedule) -> Schedule:
        return tuple(torch.tensor(timesteps, dtype=self.dtype).tolist())
