"""The denoising loop of one song: state, schedule, guidance and sampling. It does not call the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from deployments.generator.adapters.mounting import Mount
from deployments.generator.correction import StepCorrection
from deployments.generator.guidance import Guidance
from deployments.generator.schedules import Schedule
from deployments.generator.velocities import FREE, VelocityControl


@dataclass(frozen=True, eq=False)
class Condition:
    """The inputs of the DiT beside the noisy latents.

    All steps of a song use the same object; the forward's caches use its identity as the key.
    """

    encoder_states: torch.Tensor
    """[tokens, hidden]: lyrics, timbre and caption, packed."""
    context: torch.Tensor
    """[frames, 2 * channels]: source latents and mask."""
    mount: Mount | None = None
    """The adapters of the song; None without any."""

    def without_words(self, unconditional: torch.Tensor) -> "Condition":
        """The condition of guidance: the null embedding [1, hidden] in place of the words."""
        return replace(self, encoder_states=unconditional)


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


@dataclass(frozen=True)
class Prediction:
    """The first half of a step of Heun's method: where Euler's method would go."""

    velocity: torch.Tensor
    """[frames, channels] at the beginning of the step."""
    latents: torch.Tensor
    """[frames, channels] at the end of it."""


class Trajectory:
    """The state of one song between two forwards.

    `rows` returns the inputs of the DiT for the next forward, and `advance` takes its outputs. A step takes
    one forward, and two in Heun's method.
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
        control: VelocityControl = FREE,
        correction: StepCorrection | None = None,
        heun_steps: int = 0,
    ) -> None:
        """`noise` and `start` are [frames, channels] float32; `start` is at noise level `timesteps[0]`.

        `unconditional` is the model's null condition embedding [1, hidden], which guidance needs. The first
        `heun_steps` steps follow Heun's method.
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
        self._control = control
        self._correction = correction
        self._heun_steps = heun_steps
        self._predicted: Prediction | None = None
        """The first half of the present step, while its second half is open."""
        self._velocity_before: torch.Tensor | None = None
        """The velocity of the last step."""
        self.conditions: tuple[Condition, ...] = ()
        """The present condition and the one without it; a new tuple when they change."""
        self._set_condition(condition)
        self._switch_if_due()

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def forwards(self) -> int:
        """Number of forwards of all steps."""
        return self.steps + self._heun_steps

    @property
    def is_corrected(self) -> bool:
        return self._correction is not None

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
        latents, timestep = self.latents, self.timesteps[self.step]
        if self._predicted is not None:
            latents, timestep = self._predicted.latents, self._following
        rows = [Row(latents, timestep, self._condition)]
        if (
            self._guidance is not None
            and self._without_condition is not None
            and self._guidance.acts_at(timestep)
        ):
            rows.append(Row(latents, timestep, self._without_condition))
        return rows

    @property
    def _following(self) -> float:
        """The timestep at which the present step ends."""
        return self.timesteps[self.step + 1] if self.step + 1 < self.steps else 0.0

    def _switch_if_due(self) -> None:
        if self._switch is not None and self.step == self._switch.step:
            self._set_condition(self._switch.condition)

    def _set_condition(self, condition: Condition) -> None:
        # Both objects stay the same from step to step, because the forward's caches use their identity.
        self._condition = condition
        # The original repeats the null embedding for each token of the condition. Attention over equal keys
        # and values gives the same result as attention over one of them.
        self._without_condition = (
            None if self._unconditional is None else condition.without_words(self._unconditional)
        )
        without = self._without_condition
        self.conditions = (condition,) if without is None else (condition, without)

    def advance(self, velocities: Sequence[torch.Tensor]) -> None:
        """Go on with the velocities [frames, channels] of `rows()`."""
        if self._predicted is not None:
            self._finish_heun_step(velocities, self._predicted)
            return
        velocity = self._controlled(self._guided(velocities), self.latents, self._velocity_before)
        if self.step < self._heun_steps:
            timestep = self.timesteps[self.step]
            self._predicted = Prediction(velocity, self.latents - velocity * (timestep - self._following))
        else:
            self._step(velocity, velocity)

    def _guided(self, velocities: Sequence[torch.Tensor]) -> torch.Tensor:
        if len(velocities) == 1 or self._guidance is None:
            return velocities[0]
        return self._guidance.combine(velocities[0], velocities[1], self.latents, self.timesteps[self.step])

    def _finish_heun_step(self, velocities: Sequence[torch.Tensor], predicted: Prediction) -> None:
        velocity = velocities[0]
        if len(velocities) == 2 and self._guidance is not None:
            velocity = self._guidance.combine_at_end(
                velocities[0], velocities[1], predicted.latents, self._following
            )
        velocity = self._controlled(velocity, predicted.latents, predicted.velocity)
        self._predicted = None
        self._step((predicted.velocity + velocity) / 2, predicted.velocity)

    def _controlled(
        self, velocity: torch.Tensor, latents: torch.Tensor, before: torch.Tensor | None
    ) -> torch.Tensor:
        return self._control.smoothed(self._control.limited(velocity, latents), before)

    def _step(self, velocity: torch.Tensor, first_velocity: torch.Tensor) -> None:
        """Take the present step along `velocity`, which was `first_velocity` where the step began."""
        timestep, following = self.timesteps[self.step], self._following
        is_last = self.step + 1 == self.steps
        clean = self.latents - first_velocity * timestep
        if self._renoising is not None and not is_last:
            following = self._renoising.levels[self.step]
            latents = following * self._renoising.draw() + (1.0 - following) * clean
        else:
            latents = self.latents - velocity * (timestep - following)
        # A last step of Euler's method ends at the clean estimate, where there is nothing to correct.
        if self._correction is not None and (not is_last or self.step < self._heun_steps):
            latents = self._correction.corrected(latents, clean, timestep)
        if self._kept is not None and self.step < self._kept.injection_steps:
            latents = self._kept.inject(latents, self._noise, following)
        self.latents = latents
        self._velocity_before = velocity
        self.step += 1
        self._switch_if_due()
        if self.done and self._kept is not None:
            self.latents = self._kept.blend(self.latents)
