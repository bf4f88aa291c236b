import math

import pytest
import torch

from deployments.generator.guidance import Guidance, adg


@pytest.fixture
def velocities() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    cond, uncond, latents = (torch.randn(7, 3, generator=generator) for _ in range(3))
    return cond, uncond, latents


def test_apg_adds_what_is_orthogonal_to_the_condition(velocities: tuple[torch.Tensor, ...]) -> None:
    cond, uncond, latents = velocities
    update = Guidance(3.0).combine(cond, uncond, latents, 0.5) - cond
    assert torch.allclose((update * cond).sum(0), torch.zeros(3), atol=1e-5)
    limited = (cond - uncond) * (2.5 / (cond - uncond).norm(dim=0)).clamp(max=1.0)
    parallel = (limited * cond).sum(0) / cond.pow(2).sum(0) * cond
    assert torch.allclose(update, 2.0 * (limited - parallel), atol=1e-5)


def test_apg_remembers_the_steps_before(velocities: tuple[torch.Tensor, ...]) -> None:
    cond, uncond, latents = velocities
    guidance = Guidance(3.0)
    first = guidance.combine(cond, uncond, latents, 1.0)
    second = guidance.combine(cond, uncond, latents, 0.9)
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(Guidance(3.0).combine(cond, uncond, latents, 0.9), first)


def test_adg_turns_frames_by_no_more_than_the_clip(velocities: tuple[torch.Tensor, ...]) -> None:
    cond, uncond, latents = velocities
    t = 0.5
    clean = latents - t * adg(cond, uncond, latents, t, scale=1.0)
    assert torch.allclose(clean, latents - t * cond, atol=2e-2)
    strong = latents - t * adg(cond, uncond, latents, t, scale=50.0)
    cosine = torch.cosine_similarity(strong.double(), (latents - t * uncond).double())
    before = torch.cosine_similarity((latents - t * cond).double(), (latents - t * uncond).double())
    assert (torch.acos(cosine) <= torch.acos(before) + math.pi / 6 + 1e-3).all()


def test_adg_without_a_difference_changes_nothing(velocities: tuple[torch.Tensor, ...]) -> None:
    cond, _, latents = velocities
    assert torch.allclose(adg(cond, cond, latents, 0.5, 7.0), cond, atol=1e-5)


@pytest.mark.parametrize(
    ("timestep", "acts"), [(1.0, False), (0.8, True), (0.5, True), (0.2, True), (0.1, False)]
)
def test_guidance_acts_inside_its_interval_of_timesteps(timestep: float, acts: bool) -> None:
    assert Guidance(7.0, (0.2, 0.8)).acts_at(timestep) is acts
