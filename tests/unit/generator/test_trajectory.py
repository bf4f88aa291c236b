import pytest
import torch

from deployments.generator.guidance import Guidance
from deployments.generator.trajectory import Condition, CoverSwitch, KeptSource, Renoising, Trajectory

FRAMES, CHANNELS, HIDDEN = 20, 2, 4


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(FRAMES, CHANNELS, generator=torch.Generator().manual_seed(seed))


def condition(value: float = 1.0, tokens: int = 3) -> Condition:
    return Condition(torch.full((tokens, HIDDEN), value), torch.zeros(FRAMES, 2 * CHANNELS))


def towards(trajectory: Trajectory, target: torch.Tensor) -> None:
    """Advance by the exact velocity of the straight line from the present latents to `target`."""
    rows = trajectory.rows()
    trajectory.advance([(row.latents - target) / row.timestep for row in rows])


def test_exact_velocities_lead_to_the_target() -> None:
    target = noise(1)
    trajectory = Trajectory(noise(), noise(), (1.0, 0.9, 0.3), condition())
    while not trajectory.done:
        towards(trajectory, target)
    assert torch.allclose(trajectory.latents, target, atol=1e-5)


def test_a_cover_goes_on_under_another_condition_after_its_switch() -> None:
    cover, plain = condition(1.0), condition(2.0)
    trajectory = Trajectory(
        noise(), noise(), (1.0, 0.75, 0.5, 0.25), cover, switch=CoverSwitch(int(4 * 0.5), plain)
    )
    seen = []
    while not trajectory.done:
        seen.append(trajectory.rows()[0].condition)
        towards(trajectory, noise(1))
    assert seen == [cover, cover, plain, plain]


def test_the_unconditional_row_is_asked_for_only_while_guidance_acts() -> None:
    null = torch.zeros(1, HIDDEN)
    trajectory = Trajectory(
        noise(),
        noise(),
        (1.0, 0.75, 0.5, 0.25),
        condition(),
        unconditional=null,
        guidance=Guidance(3.0, (0.4, 0.8)),
    )
    rows = []
    while not trajectory.done:
        rows.append(len(trajectory.rows()))
        towards(trajectory, noise(1))
    assert rows == [1, 2, 2, 1]


def test_injection_holds_the_noised_source_outside_the_window() -> None:
    source, level = noise(1), 0.4
    kept = KeptSource(source, 5, 9, injection_steps=1, crossfade_frames=0)
    injected = kept.inject(torch.zeros(FRAMES, CHANNELS), noise(), level)
    assert torch.equal(injected[5:9], torch.zeros(4, CHANNELS))
    expected = level * noise() + (1 - level) * source
    assert torch.allclose(torch.cat([injected[:5], injected[9:]]), torch.cat([expected[:5], expected[9:]]))


@pytest.mark.parametrize(
    ("crossfade", "weights"),
    [
        (0, [1.0] * FRAMES),
        (1, [0, 0, 0, 0, 0.5, 1, 1, 1, 1, 0.5] + [0] * 10),
        (3, [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25] + [0] * 8),
    ],
)
def test_the_blend_ramps_into_the_source_outside_the_window(crossfade: int, weights: list[float]) -> None:
    kept = KeptSource(torch.zeros(FRAMES, CHANNELS), 5, 9, 0, crossfade)
    blended = kept.blend(torch.ones(FRAMES, CHANNELS))
    assert blended[:, 0].tolist() == pytest.approx(weights)


def test_renoising_draws_once_between_steps_and_ends_on_the_clean_estimate() -> None:
    drawn = []

    def draw() -> torch.Tensor:
        drawn.append(noise(len(drawn) + 10))
        return drawn[-1]

    target = noise(1)
    trajectory = Trajectory(
        noise(), noise(), (1.0, 0.5, 0.2), condition(), renoising=Renoising((0.5, 0.2, 0.0), draw)
    )
    towards(trajectory, target)
    assert torch.allclose(trajectory.latents, 0.5 * drawn[0] + 0.5 * target, atol=1e-6)
    towards(trajectory, target)
    towards(trajectory, target)
    assert len(drawn) == 2
    assert torch.allclose(trajectory.latents, target, atol=1e-6)
