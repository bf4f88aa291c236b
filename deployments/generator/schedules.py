"""Timestep schedules: t decreases from 1, which is pure noise, to 0. Schedules do not list the final 0.

Source: the sampling loops of ACE-Step 1.5's turbo, base and sft models, including where they round. The DiT
multiplies t by 1000, so that a difference in the last bit of t is visible in a comparison of latents.
"""

from collections.abc import Sequence

import torch

from deployments.checkpoints.catalog import MAX_CUSTOM_TURBO_STEPS, TURBO_SHIFTS, TURBO_STEPS, Variant

Schedule = tuple[float, ...]


def schedule(
    variant: Variant,
    steps: int,
    shift: float,
    timesteps: Sequence[float] | None = None,
    begin: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Schedule:
    """The timesteps of one song, rounded to the model's `dtype`, starting with the one nearest to `begin`.

    Turbo ignores `steps`: it uses its trained table for `shift`, or `timesteps` rounded to the values of its
    tables. sft uses `timesteps` as they are; base ignores them.
    """
    custom = _without_final_zeros(timesteps or ())
    if variant is Variant.TURBO:
        table = _turbo_schedule(shift, custom)
        return _rounded(table, dtype)[_nearest_index(begin, table) :]
    chosen = _rounded(custom, dtype) if variant is Variant.SFT and custom else _shifted(steps, shift, dtype)
    return chosen[_nearest_index(begin, chosen) :]


def renoising_levels(variant: Variant, timesteps: Schedule) -> Schedule:
    """Noise level after each step of stochastic sampling.

    Turbo uses its schedule; in base and sft the levels decrease evenly and do not depend on the shift.
    """
    if variant is Variant.TURBO:
        return (*timesteps[1:], 0.0)
    return tuple(1.0 - (k + 1) / len(timesteps) for k in range(len(timesteps)))


def warped(timesteps: torch.Tensor, shift: float) -> torch.Tensor:
    """Each timestep t shifted towards noise: shift·t / (1 + (shift - 1)·t)."""
    return shift * timesteps / (1.0 + (shift - 1.0) * timesteps)


def _turbo_schedule(shift: float, custom: Schedule) -> Schedule:
    if custom:
        return tuple(_nearest(t, _TURBO_LEVELS) for t in custom[:MAX_CUSTOM_TURBO_STEPS])
    return _TURBO_TABLES[_nearest(shift, TURBO_SHIFTS)]


def _shifted(steps: int, shift: float, dtype: torch.dtype) -> Schedule:
    """`steps` evenly spaced timesteps, warped; all arithmetic is in `dtype`."""
    return tuple(warped(torch.linspace(1.0, 0.0, steps + 1, dtype=dtype)[:-1], shift).tolist())


def _rounded(timesteps: Schedule, dtype: torch.dtype) -> Schedule:
    return tuple(torch.tensor(timesteps, dtype=dtype).tolist())


def _nearest(value: float, levels: Sequence[float]) -> float:
    return levels[_nearest_index(value, levels)]


def _nearest_index(value: float, levels: Sequence[float]) -> int:
    return min(range(len(levels)), key=lambda index: abs(levels[index] - value))


def _without_final_zeros(timesteps: Sequence[float]) -> Schedule:
    kept = list(timesteps)
    while kept and kept[-1] == 0:
        kept.pop()
    return tuple(kept)


_TURBO_TABLES = {shift: _shifted(TURBO_STEPS, shift, torch.float64) for shift in TURBO_SHIFTS}
_TURBO_LEVELS = sorted({t for table in _TURBO_TABLES.values() for t in table}, reverse=True)
"""In descending order, so that a tie is rounded to the noisier level."""
