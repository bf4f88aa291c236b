"""Timestep schedules: t decreases from 1, which is pure noise, to 0. Schedules do not list the final 0.

Source: the sampling loops of ACE-Step 1.5's turbo, base and sft models, including where they round. The DiT
multiplies t by 1000, so that a difference in the last bit of t is visible in a comparison of latents. The
Generator computes in the model's dtype (`model_arithmetic`). The Ingress, which has no torch, estimates a
job's work from the same schedules without rounding.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from configs.domain import EARLIER_SAMPLING, NEWEST_SAMPLING, SamplingVersion
from deployments.checkpoints.catalog import (
    MAX_CUSTOM_TURBO_STEPS,
    MAX_TURBO_STEPS,
    TURBO_SHIFTS,
    TURBO_STEPS,
    Variant,
)
from deployments.common.messages import InferMethod, SamplerMode

Schedule = tuple[float, ...]


class Arithmetic(Protocol):
    """The number format in which timesteps are computed."""

    def shifted(self, steps: int, shift: float) -> Schedule:
        """Return `steps` evenly spaced timesteps, warped."""

    def rounded(self, timesteps: Schedule) -> Schedule:
        """Return the timesteps as this format represents them."""


class Exact:
    """Python's floats."""

    def shifted(self, steps: int, shift: float) -> Schedule:
        return tuple(warped(1.0 - step / steps, shift) for step in range(steps))

    def rounded(self, timesteps: Schedule) -> Schedule:
        return timesteps


EXACT = Exact()


def schedule(
    variant: Variant,
    steps: int,
    shift: float,
    timesteps: Sequence[float] | None = None,
    begin: float = 1.0,
    arithmetic: Arithmetic = EXACT,
    sampling: SamplingVersion = NEWEST_SAMPLING,
) -> Schedule:
    """The timesteps of one song, computed with `arithmetic`, starting with the one nearest to `begin`.

    Turbo runs at most 20 `steps`, and rounds `timesteps` to the values of its trained tables; base and sft
    use `timesteps` as they are. In the sampling of 2026-01 turbo runs its trained table for the nearest
    `shift`, whatever `steps` is, and base ignores `timesteps`.
    """
    custom = _without_final_zeros(timesteps or ())
    if variant is Variant.TURBO:
        table = _turbo_schedule(steps, shift, custom, sampling)
        return arithmetic.rounded(table)[_nearest_index(begin, table) :]
    if sampling == EARLIER_SAMPLING and variant is Variant.BASE:
        custom = ()
    chosen = arithmetic.rounded(custom) if custom else arithmetic.shifted(steps, shift)
    return chosen[_nearest_index(begin, chosen) :]


def renoising_levels(variant: Variant, timesteps: Schedule) -> Schedule:
    """Noise level after each step of stochastic sampling.

    Turbo uses its schedule; in base and sft the levels decrease evenly and do not depend on the shift.
    """
    if variant is Variant.TURBO:
        return (*timesteps[1:], 0.0)
    return tuple(1.0 - (k + 1) / len(timesteps) for k in range(len(timesteps)))


def heun_steps(variant: Variant, mode: SamplerMode, method: InferMethod, steps: int) -> int:
    """How many of the first of `steps` steps follow Heun's method. Turbo ends with one of Euler's."""
    if mode == "euler" or method == "sde":
        return 0
    return steps - 1 if variant is Variant.TURBO else steps


def warped(timesteps: Any, shift: float) -> Any:
    """Timesteps shifted towards noise, a float or a tensor: shift·t / (1 + (shift - 1)·t) for each t."""
    return shift * timesteps / (1.0 + (shift - 1.0) * timesteps)


def _turbo_schedule(steps: int, shift: float, custom: Schedule, sampling: SamplingVersion) -> Schedule:
    if custom:
        return tuple(_nearest(t, _TURBO_LEVELS) for t in custom[:MAX_CUSTOM_TURBO_STEPS])
    if sampling == EARLIER_SAMPLING:
        return _TURBO_TABLES[_nearest(shift, TURBO_SHIFTS)]
    return EXACT.shifted(min(steps, MAX_TURBO_STEPS), shift)


def _nearest(value: float, levels: Sequence[float]) -> float:
    return levels[_nearest_index(value, levels)]


def _nearest_index(value: float, levels: Sequence[float]) -> int:
    return min(range(len(levels)), key=lambda index: abs(levels[index] - value))


def _without_final_zeros(timesteps: Sequence[float]) -> Schedule:
    kept = list(timesteps)
    while kept and kept[-1] == 0:
        kept.pop()
    return tuple(kept)


_TURBO_TABLES = {shift: EXACT.shifted(TURBO_STEPS, shift) for shift in TURBO_SHIFTS}
_TURBO_LEVELS = sorted({t for table in _TURBO_TABLES.values() for t in table}, reverse=True)
"""In descending order, so that a tie is rounded to the noisier level."""
