import pytest
import torch

from configs.domain import EARLIER_SAMPLING
from deployments.checkpoints.catalog import Variant
from deployments.generator.model_arithmetic import ModelArithmetic
from deployments.generator.schedules import heun_steps, renoising_levels, schedule

SHIFT_3 = (1, 21 / 22, 0.9, 5 / 6, 0.75, 9 / 14, 0.5, 0.3)
SHIFT_2 = (1, 14 / 15, 6 / 7, 10 / 13, 2 / 3, 6 / 11, 0.4, 2 / 9)
SHIFT_1 = (1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125)


@pytest.mark.parametrize(
    ("shift", "table"),
    [(1.0, SHIFT_1), (0.2, SHIFT_1), (1.5, SHIFT_1), (2.0, SHIFT_2), (2.6, SHIFT_3), (9.0, SHIFT_3)],
)
@pytest.mark.parametrize("steps", [1, 8, 50])
def test_in_2026_01_turbo_runs_the_table_of_the_nearest_shift_whatever_the_steps(
    shift: float, table: tuple[float, ...], steps: int
) -> None:
    run = schedule(Variant.TURBO, steps, shift, sampling=EARLIER_SAMPLING)
    assert run == pytest.approx(table, abs=1e-7)


@pytest.mark.parametrize(("shift", "table"), [(1.0, SHIFT_1), (2.0, SHIFT_2), (3.0, SHIFT_3)])
def test_the_trained_steps_of_turbo_are_the_same_in_each_version(
    shift: float, table: tuple[float, ...]
) -> None:
    assert schedule(Variant.TURBO, 8, shift) == pytest.approx(table, abs=1e-7)


def test_turbo_runs_the_steps_and_the_shift_that_are_asked_for() -> None:
    assert schedule(Variant.TURBO, 4, 3.0) == pytest.approx([1, 0.9, 0.75, 0.5], abs=1e-7)
    assert schedule(Variant.TURBO, 2, 2.6) == pytest.approx([1, 2.6 * 0.5 / 1.8], abs=1e-7)
    assert [len(schedule(Variant.TURBO, steps, 3.0)) for steps in (1, 16, 20, 21, 200)] == [1, 16, 20, 20, 20]


def test_turbo_snaps_custom_timesteps_and_takes_twenty() -> None:
    assert schedule(Variant.TURBO, 8, 3.0, [0.97, 0.76, 0.5, 0.085, 0]) == pytest.approx(
        [21 / 22, 10 / 13, 0.5, 0.125], abs=1e-7
    )
    assert len(schedule(Variant.TURBO, 8, 3.0, [0.5] * 30)) == 20
    assert schedule(Variant.TURBO, 8, 3.0, [0.0, 0.0]) == schedule(Variant.TURBO, 8, 3.0)


def test_base_is_even_and_warped_by_the_shift() -> None:
    assert schedule(Variant.BASE, 4, 1.0) == (1.0, 0.75, 0.5, 0.25)
    assert schedule(Variant.BASE, 4, 3.0) == pytest.approx([1, 0.9, 0.75, 0.5], abs=1e-7)
    assert len(schedule(Variant.SFT, 50, 1.0)) == 50


def test_base_and_sft_take_custom_timesteps_as_they_are() -> None:
    custom = [0.9, 0.31, 0.0]
    for variant in (Variant.BASE, Variant.SFT):
        assert schedule(variant, 4, 3.0, custom) == pytest.approx([0.9, 0.31], abs=1e-7)
    earlier = schedule(Variant.BASE, 4, 3.0, custom, sampling=EARLIER_SAMPLING)
    assert earlier == schedule(Variant.BASE, 4, 3.0)


def test_heuns_method_ends_where_the_variant_does() -> None:
    assert heun_steps(Variant.TURBO, "heun", "ode", 8) == 7
    assert heun_steps(Variant.BASE, "heun", "ode", 8) == 8
    assert heun_steps(Variant.BASE, "heun", "sde", 8) == heun_steps(Variant.BASE, "euler", "ode", 8) == 0


def test_timesteps_are_rounded_to_the_models_dtype() -> None:
    rounded = schedule(Variant.TURBO, 8, 3.0, arithmetic=ModelArithmetic(torch.bfloat16))
    assert rounded == (1.0, 0.953125, 0.8984375, 0.83203125, 0.75, 0.64453125, 0.5, 0.30078125)


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("shift", [1.0, 2.3, 3.0])
@pytest.mark.parametrize("custom", [None, (0.97, 0.5, 0.2)])
def test_without_rounding_the_schedule_is_the_same_up_to_the_last_digit(
    variant: Variant, shift: float, custom: tuple[float, ...] | None
) -> None:
    exact = schedule(variant, 27, shift, custom, begin=0.8)
    assert exact == pytest.approx(schedule(variant, 27, shift, custom, 0.8, ModelArithmetic()), abs=1e-6)


@pytest.mark.parametrize(("begin", "first"), [(1.0, 1.0), (0.8, 5 / 6), (0.4, 0.5), (0.0, 0.3)])
def test_a_song_may_begin_later(begin: float, first: float) -> None:
    started = schedule(Variant.TURBO, 8, 3.0, begin=begin)
    assert started[0] == pytest.approx(first, abs=1e-7)
    assert schedule(Variant.TURBO, 8, 3.0)[-len(started) :] == started


def test_renoising_ends_clean() -> None:
    assert renoising_levels(Variant.TURBO, (1.0, 0.9, 0.3)) == (0.9, 0.3, 0.0)
    assert renoising_levels(Variant.BASE, (1.0, 0.9, 0.75, 0.5)) == (0.75, 0.5, 0.25, 0.0)
