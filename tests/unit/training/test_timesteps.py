"""The DiT learns at the timesteps of the turbo schedule."""

import torch

from training.timesteps import TURBO_TIMESTEPS, draw_timesteps


def test_between_any_two_timesteps_of_the_schedule_as_many_are_drawn() -> None:
    drawn = draw_timesteps(80_000, torch.Generator().manual_seed(0))
    counts, _ = torch.histogram(drawn, TURBO_TIMESTEPS.flip(0))
    torch.testing.assert_close(counts / len(drawn), torch.full((8,), 1 / 8), atol=0.01, rtol=0.0)
