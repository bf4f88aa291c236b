"""The denoising loop of one song: state, schedule, guidance and sampling. It does not call the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from deployments.generator.guidance import Guidance
from deployments.generator.schedules import Schedule


@dataclass(frozen=True, eq=False)
class Condition:
    """The inputs of the DiT beside the noisy latents.

    All steps of a song use the same object; the forward's caches use its identity as the key.
    """

    encoder_states: torch.Tensor
    """[tokens, hidden]: lyrics, timbre and caption, packed."""
    context: torch.Tensor
    """[frames, 2 * channels]: source latents and mask."""


@dataclass(frozen=True)
class Row:
    """One row of a forward."""

    latents: torch.Tensor
    """[frames, channels]"""
    timestep: float
    condition: Condition


@dataclass(frozen=True)
class CoverSwitch:
    """A change to another condition after `step` steps."""

    step: int
    condition: Condition


@dataclass(frozen=True)
class KeptSource:
    """Clean source latents, which a repaint keeps outside of the window [start, end)."""

    latents: torch.Tensor
    """[frames, channels]"""
    start: int
    end: int
    injection_steps: int
    """Number of first steps after which everything outside the window is replaced by the source.

    The source is noised to the level that the step has reached.
    """
    crossfade_frames: int

    def inject(self, latents: torch.Tensor, noise: torch.Tensor, level: float) -> torch.Tensor:
        """`latents` inside the window, and the source at noise `level` outside."""
        noisy = level * noise + (1.0 - level) * self.latents
        noisy[self.start : self.end] = latents[self.start : self.end]
        return noisy

    def blend(self, latents: torch.Tensor) -> torch.Tensor:
        """`latents` inside the window, a linear crossfade outside of each edge, and the source beyond it."""
        width = self.crossfade_frames
        if width == 0:
            return latents
        frames = torch.arange(latents.shape[0], device=latents.device)
        outside = torch.maximum(self.start - frames, frames - (self.end - 1)).clamp(min=0)
        weight = (1.0 - outside / (width + 1)).clamp(min=0.0)[:, None]
        return weight * latents + (1.0 - weight) * self.latents


@dataclass(frozen=True)
class Renoising:
    """Stochastic sampling: each step but the last estimates clean latents and noises them again."""

    levels: Schedule
    """Noise level after each step; the last one is 0."""
    draw: Callable[[], torch.Tensor]
    """Returns new noise [frames, channels]."""


class Trajectory:
    """The state of one song between two steps.

    `rows` returns the inputs of the DiT for the next step, and `advance` takes its outputs.
    """

    def __init__(
        self,
        noise: torch.Tensor,
        start: torch.Tensor,
        timesteps: Schedule,
        condition: Condition,
        *,
        unconditional: torch.Tensor | None = None,
        guidance: Guidance | None = None,
        switch: CoverSwitch | None = None,
        kept: KeptSource | None = None,
        renoising: Renoising | None = None,
    ) -> None:
        """`noise` and `start` are [frames, channels] float32; `start` is at noise level `timesteps[0]`.

        `unconditional` is the model's null condition embedding [1, hidden], which guidance needs.
        """
        self.latents = start
        self.timesteps = timesteps
        self.step = 0
        self._renoising = renoising
        self._noise = noise
        self._guidance = guidance
        self._switch = switch
        self._kept = kept
        self._unconditional = unconditional
        self.conditions: tuple[Condition, ...] = ()
        """The present condition and the one without it; a new tuple when they change."""
        self._set_condition(condition)
        self._switch_if_due()

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def done(self) -> bool:
        return self.step == self.steps

    @property
    def frames(self) -> int:
        return self.latents.shape[0]

    def draw_noise_from(self, draw: Callable[[], torch.Tensor]) -> None:
        """Replace the source of the noise [frames, channels] of stochastic sampling."""
        if self._renoising is not None:
            self._renoising = replace(self._renoising, draw=draw)

    def rows(self) -> list[Row]:
        """The conditional row, followed by the unconditional row while guidance acts."""
        timestep = self.timesteps[self.step]
        rows = [Row(self.latents, timestep, self._condition)]
        if (
            self._guidance is not None
            and self._without_condition is not None
            and self._guidance.acts_at(timestep)
        ):
            rows.append(Row(self.latents, timestep, self._without_condition))
        return rows

    def _switch_if_due(self) -> None:
        if self._switch is not None and self.step == self._switch.step:
            self._set_condition(self._switch.condition)

    def _set_condition(self, condition: Condition) -> None:
        # Both objects stay the same from step to step, because the forward's caches use their identity.
        self._condition = condition
        # The original repeats the null embedding for each token of the condition. Attention over equal keys
        # and values gives the same result as attention over one of them.
        self._without_condition = (
            None if self._unconditional is None else Condition(self._unconditional, condition.context)
        )
        without = self._without_condition
        self.conditions = (condition,) if without is None else (condition, without)

    def advance(self, velocities: Sequence[torch.Tensor]) -> None:
        """Take one step along the velocities [frames, channels] of `rows()`."""
        timestep = self.timesteps[self.step]
        velocity = velocities[0]
        if len(velocities) == 2 and self._guidance is not None:
            velocity = self._guidance.combine(velocities[0], velocities[1], self.latents, timestep)
        following = self.timesteps[self.step + 1] if self.step + 1 < self.steps else 0.0
        if self._renoising is not None and self.step + 1 < self.steps:
            clean = self.latents - velocity * timestep
            following = self._renoising.levels[self.step]
            self.latents = following * self._renoising.draw() + (1.0 - following) * clean
        else:
            self.latents = self.latents - velocity * (timestep - following)
        if self._kept is not None and self.step < self._kept.injection_steps:
            self.latents = self._kept.inject(self.latents, self._noise, following)
        self.step += 1
        self._switch_if_due()
        if self.done and self._kept is not None:
            self.latents = self._kept.blend(self.latents)
