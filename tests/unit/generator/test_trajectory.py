import pytest
import torch

from deployments.generator.correction import StepCorrection
from deployments.generator.guidance import Guidance, adg
from deployments.generator.trajectory import Condition, CoverSwitch, KeptSource, Renoising, Trajectory
from deployments.generator.velocities import VelocityControl

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


def along(trajectory: Trajectory, velocity: float) -> list[float]:
    """Advance with the same velocity in all rows; returns the timesteps of the rows."""
    rows = trajectory.rows()
    trajectory.advance([torch.full((FRAMES, CHANNELS), velocity) for _ in rows])
    return [row.timestep for row in rows]


def test_heuns_method_follows_the_mean_of_the_velocities_at_both_ends_of_a_step() -> None:
    trajectory = Trajectory(noise(), noise(), (1.0, 0.5), condition(), heun_steps=1)
    assert trajectory.forwards == 3
    assert along(trajectory, 1.0) == [1.0]
    assert (trajectory.step, trajectory.done) == (0, False)
    predicted = trajectory.rows()[0].latents
    assert torch.allclose(predicted, noise() - 0.5)
    assert along(trajectory, 3.0) == [0.5]
    assert torch.allclose(trajectory.latents, noise() - 0.5 * 2.0)
    assert along(trajectory, 1.0) == [0.5]
    assert trajectory.done


def test_heuns_method_asks_for_guidance_where_it_acts_at_the_end_of_the_step() -> None:
    trajectory = Trajectory(
        noise(),
        noise(),
        (1.0, 0.75, 0.5),
        condition(),
        unconditional=torch.zeros(1, HIDDEN),
        guidance=Guidance(3.0, (0.6, 0.8)),
        heun_steps=3,
    )
    rows = []
    while not trajectory.done:
        rows.append(along(trajectory, 0.1))
    assert rows == [[1.0], [0.75, 0.75], [0.75, 0.75], [0.5], [0.5], [0.0]]


def test_guidance_at_the_end_of_a_step_has_no_momentum_and_no_limit() -> None:
    cond, uncond = torch.full((FRAMES, CHANNELS), 50.0), torch.zeros(FRAMES, CHANNELS)
    guidance = Guidance(7.0)
    assert torch.equal(guidance.combine_at_end(cond, uncond, noise(), 0.5), 7 * cond)
    first, fresh = guidance.combine(cond, uncond, noise(), 0.5), Guidance(7.0)
    assert torch.equal(first, fresh.combine(cond, uncond, noise(), 0.5))
    angle = Guidance(3.0, use_adg=True)
    assert torch.equal(angle.combine_at_end(cond, uncond, noise(), 0.0), 3 * cond)
    turned = angle.combine_at_end(noise(2), noise(3), noise(), 0.5)
    assert torch.equal(turned, adg(noise(2), noise(3), noise(), 0.5, 3.0))


def test_a_velocity_is_shortened_to_the_length_of_the_latents_and_mixed_with_the_one_before() -> None:
    control = VelocityControl(norm_threshold=0.5, ema_factor=0.25)
    trajectory = Trajectory(noise(), noise(), (1.0, 0.5), condition(), control=control)
    long, short = noise(1) * 100, noise(2) * 1e-3
    trajectory.advance([long])
    first = (noise() - trajectory.latents) / 0.5
    assert first.norm() == pytest.approx(0.5 * float(noise().norm()), rel=1e-5)
    assert torch.allclose(first / first.norm(), long / long.norm(), atol=1e-6)
    before = trajectory.latents
    trajectory.advance([short])
    assert torch.allclose(before - trajectory.latents, 0.5 * (0.75 * short + 0.25 * first), atol=1e-6)


def test_all_steps_but_the_last_are_corrected_and_kept_regions_never() -> None:
    source = noise(1)
    correction = StepCorrection("pix", 0.1, 0.0, "haar")
    trajectory = Trajectory(
        noise(),
        noise(),
        (1.0, 0.5),
        condition(),
        kept=KeptSource(source, 5, 9, injection_steps=1, crossfade_frames=0),
        correction=correction,
    )
    assert trajectory.is_corrected
    along(trajectory, 1.0)
    inside = noise()[5:9] - 0.5
    clean = noise()[5:9] - 1.0
    assert torch.allclose(trajectory.latents[5:9], inside + 0.1 * (inside - clean), atol=1e-6)
    outside = 0.5 * noise() + 0.5 * source
    assert torch.allclose(trajectory.latents[9:], outside[9:], atol=1e-6)
    before = trajectory.latents
    along(trajectory, 1.0)
    assert torch.allclose(trajectory.latents, before - 0.5, atol=1e-6)


def test_the_last_step_of_heuns_method_is_corrected_from_the_estimate_at_its_beginning() -> None:
    correction = StepCorrection("pix", 0.1, 0.0, "haar")
    trajectory = Trajectory(noise(), noise(), (1.0,), condition(), correction=correction, heun_steps=1)
    along(trajectory, 1.0)
    along(trajectory, 3.0)
    reached, clean = noise() - 2.0, noise() - 1.0
    assert torch.allclose(trajectory.latents, reached + 0.1 * (reached - clean), atol=1e-6)
