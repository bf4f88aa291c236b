"""Averages the weights over the last steps, which makes better music than the last weights alone."""

from collections.abc import Sequence

import torch
from torch import nn


class MovingAverage:
    """An exponential moving average of parameters. Its decay grows during the first steps."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        """Begin with the present values. `decay` is the largest decay of a step."""
        self.values = [parameter.detach().clone() for parameter in parameters]
        """The averages, in the order of the parameters."""
        self._parameters = parameters
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the parameters after `step` steps. Those after the first step replace the average."""
        decay = min(self._decay, step / (9 + step)) if step > 1 else 0.0
        torch._foreach_lerp_(self.values, list(self._parameters), 1 - decay)

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        """Replace the parameters by their averages."""
        for parameter, value in zip(self._parameters, self.values, strict=True):
            parameter.copy_(value)
