"""The loop: batches, chunks and states."""

from pathlib import Path

import pytest
import torch
from torch import nn

from training.averaging import MovingAverage
from training.chunk import Carry
from training.loop import STATE, Training, batches
from training.recipe import Learning
from training.states import State, load_state


def numbers(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    wanted = torch.randn(8, 1, generator=generator)
    return wanted + torch.randn(8, 3, generator=generator), wanted


def test_batches_are_the_same_whoever_prepares_them() -> None:
    alone, together = (list(batches(numbers, 5, range(2, 7), workers)) for workers in (0, 2))
    assert len(alone) == 5
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


def square(
    module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], _: torch.Generator
) -> dict[str, torch.Tensor]:
    shown, wanted = batch
    return {"loss": (module(shown) - wanted).square().mean()}


class Steps:
    """A chunk that is over after so many steps."""

    def __init__(self, steps: int, carry: Carry | None = None) -> None:
        self.left = steps
        self.carry = carry

    @property
    def is_over(self) -> bool:
        self.left -= 1
        return self.left < 0


def trained(folder: Path, *chunks: Steps) -> State:
    """The state after these chunks of six steps, every second of which is saved."""
    learning = Learning(steps=6, batch=8, rate=0.1, warm_up=2, save_every=2)
    for chunk in chunks:
        torch.manual_seed(0)
        Training(folder, nn.Linear(3, 1), learning, seed=1).run(numbers, square, chunk)
    return load_state(folder / STATE)


def assert_equal(one: State, other: State) -> None:
    assert one.step == other.step
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


@pytest.mark.parametrize("carry", [None, lambda _state: None], ids=["exact", "rounded"])
def test_chunks_give_what_one_run_gives(tmp_path: Path, carry: Carry | None) -> None:
    whole = trained(tmp_path / "whole", Steps(100, carry))
    chunks = trained(tmp_path / "chunks", Steps(3, carry), Steps(2, carry), Steps(100, carry))
    assert whole.step == 6
    assert_equal(whole, chunks)


def test_only_an_exact_run_keeps_steps_between_two_saves(tmp_path: Path) -> None:
    assert trained(tmp_path / "exact", Steps(3)).step == 3
    assert trained(tmp_path / "rounded", Steps(3, lambda _state: None)).step == 2


def test_training_goes_on_from_what_was_rounded(tmp_path: Path) -> None:
    """Otherwise a run that is carried to another machine would differ from one that stays."""
    carried: list[State] = []
    state = trained(tmp_path, Steps(100, lambda file: carried.append(load_state(file))))
    assert [each.step for each in carried] == [2, 4, 6]
    assert {each.dtype for each in state.tensors.values()} == {torch.float16, torch.bfloat16, torch.float32}
    assert state.tensors["weights.weight"].dtype is torch.float16
    assert_equal(state, state.rounded())
    exact = trained(tmp_path / "exact", Steps(100))
    difference = (exact.tensors["weights.weight"] - state.tensors["weights.weight"].float()).abs()
    assert 0 < difference.max() < 1e-2


def test_the_moving_average_forgets_the_first_weights() -> None:
    """Its decay after n steps is n / (9 + n), up to its limit."""
    parameter = nn.Parameter(torch.tensor([1.0, 5.0]))
    average = MovingAverage([parameter], decay=0.5)

    def after(step: int, value: float) -> list[float]:
        with torch.no_grad():
            parameter.fill_(value)
        average.update(step)
        return average.values[0].tolist()

    assert after(1, 2.0) == [2.0, 2.0]
    assert after(2, 13.0) == pytest.approx([11.0, 11.0])  # 2 / 11 of it is left
    assert after(1000, 21.0) == pytest.approx([16.0, 16.0])
    average.copy_to_parameters()
    assert parameter.tolist() == pytest.approx([16.0, 16.0])
