"""Classifier-free guidance for one song: combines the conditional and the unconditional velocity.

Sources: APG, arXiv 2410.02416 (diffusers' implementation); ADG, the angle-based guidance of ACE-Step 1.5.
"""

import copy

import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

_MOMENTUM = -0.75
_NORM_THRESHOLD = 2.5
_ANGLE_CLIP = 3.14 / 6
"""The original's value, which is slightly less than pi / 6."""
_SMALL_ANGLE_SINE = 1e-3


class Guidance:
    """Guidance of one song, including its momentum. It acts at timesteps in the closed `interval`."""

    def __init__(
        self, scale: float, interval: tuple[float, float] = (0.0, 1.0), use_adg: bool = False
    ) -> None:
        self.scale = scale
        self._interval = interval
        self._use_adg = use_adg
        self._momentum = MomentumBuffer(_MOMENTUM)

    def acts_at(self, timestep: float) -> bool:
        start, end = self._interval
        return start <= timestep <= end

    def combine(
        self, cond: torch.Tensor, uncond: torch.Tensor, latents: torch.Tensor, timestep: float
    ) -> torch.Tensor:
        """The guided velocity. All tensors are [frames, channels].

        It must be called once per step, because it updates the momentum.
        """
        if self._use_adg:
            return adg(cond, uncond, latents, timestep, self.scale)
        guided: torch.Tensor = normalized_guidance(
            cond[None],
            uncond[None],
            guidance_scale=self.scale - 1.0,
            momentum_buffer=self._momentum,
            eta=0.0,
            norm_threshold=_NORM_THRESHOLD,
            use_original_formulation=True,
            norm_dim=1,  # per channel, over the song's own frames
        )
        return guided[0]

    def copy(self) -> "Guidance":
        """The same guidance, whose momentum goes its own way from here on."""
        return copy.deepcopy(self)

    def add_momentum(self, difference: torch.Tensor) -> None:
        """Move the momentum by a difference between conditional and unconditional velocity alone."""
        self._momentum.update(difference)

    def combine_at_end(
        self, cond: torch.Tensor, uncond: torch.Tensor, latents: torch.Tensor, timestep: float
    ) -> torch.Tensor:
        """The guided velocity at the end of a step of Heun's method, where nothing is limited.

        The momentum stays as it is. Where the clean estimate is all that is left (`timestep` 0) there is no
        angle to turn.
        """
        if self._use_adg and timestep > 0:
            return adg(cond, uncond, latents, timestep, self.scale)
        return uncond + self.scale * (cond - uncond)


def adg(
    cond: torch.Tensor, uncond: torch.Tensor, latents: torch.Tensor, timestep: float, scale: float
) -> torch.Tensor:
    """Angle-based guidance: rotates the conditional clean estimate away from the unconditional one.

    All tensors are [frames, channels]. Each frame is rotated by scale - 1 times the angle between the two
    estimates, but by at most 30 degrees.
    """
    weight = max(scale - 1.0, 0.0) + 1e-3
    clean_cond = (latents - timestep * cond).double()
    clean_uncond = (latents - timestep * uncond).double()
    angle = torch.acos(torch.cosine_similarity(clean_cond, clean_uncond, dim=-1).clamp(-1.0, 1.0))[:, None]
    turned = (weight * angle).clamp(-_ANGLE_CLIP, _ANGLE_CLIP)
    along = clean_uncond / clean_uncond.norm(dim=-1, keepdim=True)
    difference = clean_cond - clean_uncond
    across = difference - (difference * along).sum(dim=-1, keepdim=True) * along
    sine = torch.sin(angle)
    stretch = torch.where(sine > _SMALL_ANGLE_SINE, torch.sin(turned) / sine, weight)
    clean = torch.cos(turned) * clean_cond + stretch * across
    velocity: torch.Tensor = (latents - clean) / timestep
    return velocity.to(cond.dtype)
