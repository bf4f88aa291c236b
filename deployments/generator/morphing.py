"""The steps of a morph: a clip becomes another song, and keeps what the words of both have in common.

Source: the flow edit of ACE-Step 1.5 (April 2026; arXiv 2412.08629). Two branches ask the DiT for velocities,
one with the words of the clip and one with those of the song. The song follows their difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from deployments.generator.guidance import Guidance
from deployments.generator.schedules import Schedule
from deployments.generator.trajectory import Condition, Row
from deployments.generator.velocities import VelocityControl


class Branch:
    """The velocities under the words of the clip, or under those of the song."""

    def __init__(
        self,
        condition: Condition,
        without_condition: Condition | None,
        guidance: Guidance | None,
        control: VelocityControl,
    ) -> None:
        """`without_condition` is what guidance needs beside `condition`."""
        self.conditions = tuple(filter(None, (condition, without_condition)))
        self._guidance = guidance
        self._control = control
        self._before: torch.Tensor | None = None
        """The velocity of the step before, as the mean of its draws."""
        self._velocities: list[torch.Tensor] = []
        self._differences: list[torch.Tensor] = []
        """For each draw of this step, its velocity and the value that guidance adds to its momentum."""

    def rows(self, latents: torch.Tensor, timestep: float) -> list[Row]:
        """The conditional row, followed by the unconditional row while guidance acts."""
        is_guided = self._guidance is not None and self._guidance.acts_at(timestep)
        conditions = self.conditions if is_guided else self.conditions[:1]
        return [Row(latents, timestep, condition) for condition in conditions]

    def velocity(
        self, velocities: Sequence[torch.Tensor], latents: torch.Tensor, timestep: float
    ) -> torch.Tensor:
        """The velocity of one draw, from those of `rows()`. All draws of a step have the same momentum."""
        velocity = velocities[0]
        if self._guidance is not None and len(velocities) == 2:
            velocity = self._guidance.copy().combine(velocities[0], velocities[1], latents, timestep)
            self._differences.append(velocities[0] - velocities[1])
        velocity = self._control.smoothed(self._control.limited(velocity, latents), self._before)
        self._velocities.append(velocity)
        return velocity

    def end_step(self) -> None:
        """Go on to the next step with the means of the draws."""
        if self._guidance is not None and self._differences:
            self._guidance.add_momentum(torch.stack(self._differences).mean(dim=0))
        self._before = torch.stack(self._velocities).mean(dim=0)
        self._velocities, self._differences = [], []


@dataclass(frozen=True)
class MorphSteps:
    """The steps of a morph, by their numbers."""

    first: int
    """Steps before this one are left out: the song keeps what they decide."""
    end: int
    """From this step on the song goes its own way, away from the clip."""
    draws: int
    """Number of velocities that are computed in each step, which then moves along their mean."""


class MorphTrajectory:
    """The state of one morph between two forwards, with the interface of `Trajectory`."""

    is_corrected = False

    def __init__(
        self,
        clip: torch.Tensor,
        timesteps: Schedule,
        song: Branch,
        source: Branch,
        morph: MorphSteps,
        draw: Callable[[], torch.Tensor],
    ) -> None:
        """`clip` is [frames, channels] in float32; `draw` returns new noise of this shape."""
        self.latents = clip
        self.timesteps = timesteps
        self.step = morph.first
        self._clip = clip
        self._song = song
        self._source = source
        self._morph = morph
        self._draw = draw
        self._noise = clip
        self.conditions = song.conditions + source.conditions
        """All conditions of all rows; they stay the same objects to the end."""
        self._moves: list[torch.Tensor] = []
        """The velocities by which the draws of this step would move the song."""
        self._begin_step()

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def forwards(self) -> int:
        morphing = max(0, min(self._morph.end, self.steps) - self._morph.first)
        return self.steps - self._morph.first + morphing * (self._morph.draws - 1)

    @property
    def done(self) -> bool:
        return self.step == self.steps

    @property
    def frames(self) -> int:
        return self.latents.shape[0]

    def draw_noise_from(self, draw: Callable[[], torch.Tensor]) -> None:
        """A morph has no noise of stochastic sampling."""

    def rows(self) -> list[Row]:
        """The rows of the song, followed by those of the clip while the song follows both."""
        timestep = self.timesteps[self.step]
        if not self._is_morphing:
            return self._song.rows(self.latents, timestep)
        song, source = self._noisy()
        return self._song.rows(song, timestep) + self._source.rows(source, timestep)

    def advance(self, velocities: Sequence[torch.Tensor]) -> None:
        """Go on with the velocities [frames, channels] of `rows()`."""
        timestep = self.timesteps[self.step]
        following = self.timesteps[self.step + 1] if self.step + 1 < self.steps else 0.0
        if self._is_morphing:
            half = len(velocities) // 2
            song, source = self._noisy()
            towards = self._song.velocity(velocities[:half], song, timestep)
            away = self._source.velocity(velocities[half:], source, timestep)
            self._moves.append(towards - away)
            if len(self._moves) < self._morph.draws:
                self._noise = self._draw()
                return
            velocity = torch.stack(self._moves).mean(dim=0)
            self._source.end_step()
        else:
            velocity = self._song.velocity(velocities, self.latents, timestep)
        self._song.end_step()
        self.latents = self.latents - velocity * (timestep - following)
        self.step += 1
        self._begin_step()

    @property
    def _is_morphing(self) -> bool:
        return self.step < self._morph.end

    def _begin_step(self) -> None:
        self._moves = []
        if self.done:
            return
        if self._is_morphing:
            self._noise = self._draw()
        elif self.step == max(self._morph.first, self._morph.end):
            self._noise = self._draw()
            self.latents, _ = self._noisy()

    def _noisy(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The song and the clip under the noise of this draw, at the timestep of this step."""
        timestep = self.timesteps[self.step]
        source = (1.0 - timestep) * self._clip + timestep * self._noise
        return self.latents + source - self._clip, source
