"""Saves the state of a stage between two chunks: weights, their moving average, and Adam's moments.

A state is one file of tensors together with the number of steps that are done. It is either exact or rounded
to 16 bits. A rounded state takes 8 bytes for each learned parameter, an exact one 16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

WEIGHTS, AVERAGE = "weights.", "average."
FIRST_MOMENT, SECOND_MOMENT, UPDATES = "first_moment.", "second_moment.", "updates."
"""Prefixes of the names of tensors. The name of a parameter follows."""
_ROUNDED = {
    WEIGHTS: torch.float16,
    AVERAGE: torch.float16,
    # Moments are far smaller than weights, and squares smaller still: they need the range of bfloat16.
    FIRST_MOMENT: torch.bfloat16,
    SECOND_MOMENT: torch.bfloat16,
}


@dataclass(frozen=True)
class State:
    """The state of a stage after `step` steps."""

    step: int
    tensors: Mapping[str, torch.Tensor]

    def rounded(self) -> "State":
        """Return this state in 16 bits. A state that is rounded already does not change."""

        def narrow(name: str, tensor: torch.Tensor) -> torch.Tensor:
            dtype = _ROUNDED.get(name.partition(".")[0] + ".")
            return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)

        return State(self.step, {name: narrow(name, tensor) for name, tensor in self.tensors.items()})

    @property
    def bytes(self) -> int:
        """Return the size of all tensors in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def save(self, file: Path) -> None:
        """Write the state. If this is interrupted, `file` still holds the old state."""
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(".part")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        save_file(tensors, aside, metadata={"step": str(self.step)})
        aside.replace(file)


def load_state(file: Path) -> State:
    """Return the state that `save` has written, on the CPU."""
    return State(step_of(file), load_file(file))


def step_of(file: Path) -> int:
    """Return the number of steps that are done in the state of `file`, or 0 if there is no such file."""
    if not file.exists():
        return 0
    with safe_open(file, "pt") as opened:
        return int(opened.metadata()["step"])
