"""Runs the training loop of every stage. It is deterministic and can be continued in chunks.

Step k draws everything from generators seeded with k. A run that was cut into chunks therefore gives the same
result as one long run, however many processes prepare its batches.
"""

import math
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from training.averaging import MovingAverage
from training.chunk import Chunk
from training.recipe import Learning
from training.states import AVERAGE, FIRST_MOMENT, SECOND_MOMENT, UPDATES, WEIGHTS, State, load_state

Losses = Mapping[str, torch.Tensor]
"""Losses by name. `loss` is minimised; the others are only printed."""
BatchOf = Callable[[torch.Generator], Any]
"""Draws a batch on the CPU. The generator is its only source of randomness."""
LossOf = Callable[[nn.Module, Any, torch.Generator], Losses]
"""Computes the losses of the module for a batch.

The generator, on the CPU, is the only source of randomness.
"""

STATE = "state.safetensors"
"""Name of the file in a stage's folder that holds its state."""
_REPORTS_A_SAVE = 5
"""Number of times that losses are printed between two saves."""
_LOWEST_RATE = 0.1
_WORKERS = 12
"""Processes that prepare batches for a GPU, if the machine has as many processors."""


_BATCH_SEEDS = 2**40
"""Offset of the seeds of batches, which keeps them apart from the seeds of the losses."""


class _Batches(Dataset[bytes]):
    """The batches of all steps, pickled and indexed by step.

    DataLoader would send tensors through shared memory, of which a container often has only 64 MB.
    """

    def __init__(self, batch_of: BatchOf, seed: int) -> None:
        self._batch_of = batch_of
        self._seed = seed

    def __getitem__(self, step: int) -> bytes:
        return pickle.dumps(self._batch_of(torch.Generator().manual_seed(self._seed + step)), protocol=5)


def batches(batch_of: BatchOf, seed: int, steps: range, workers: int) -> Iterator[Any]:
    """Return the batches of `steps`, which `workers` processes prepare, or this process if that is 0."""
    pickled = DataLoader(
        _Batches(batch_of, seed),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    return map(pickle.loads, pickled)


class Training:
    """The training of one stage, whose state is saved in `folder`."""

    def __init__(self, folder: Path, module: nn.Module, learning: Learning, seed: int) -> None:
        """Continue from the state in `folder` if there is one. `module` is changed in place."""
        self._folder = folder
        self._learning = learning
        self._seed = seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module = module.to(self.device)
        named = [(name, each) for name, each in module.named_parameters() if each.requires_grad]
        self._names = [name for name, _ in named]
        self._parameters = [parameter for _, parameter in named]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=learning.rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self._average = MovingAverage(self._parameters, learning.averaging)
        self.step = 0
        """Number of steps that are done."""
        self._since_report: list[Losses] = []
        if (folder / STATE).exists():
            self._take(load_state(folder / STATE))

    @property
    def is_done(self) -> bool:
        return self.step >= self._learning.steps

    def run(self, batch_of: BatchOf, loss_of: LossOf, chunk: Chunk) -> bool:
        """Train until the chunk is over. Return whether the stage is done.

        Raises FloatingPointError on NaN.
        """
        self.module.train()
        saved = self.step
        for batch in self._batches(batch_of):
            if chunk.is_over:
                break
            self._learn(batch, loss_of)
            if self.step % self._report_every == 0 or self.is_done:
                self._report()
            if self.step % self._learning.save_every == 0 or self.is_done:
                self._save(chunk)
                saved = self.step
        if self.step > saved and chunk.carry is None:
            self._save(chunk)
        return self.is_done

    def _learn(self, batch: Any, loss_of: LossOf) -> None:
        """Do one step."""
        # bfloat16 products are several times as fast, also on processors with AMX. Weights stay in
        # float32.
        with torch.autocast(self.device.type, torch.bfloat16):
            losses = loss_of(self.module, batch, torch.Generator().manual_seed(self._seed + self.step))
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, self._learning.clip)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning.rate * self._share_of_rate(self.step)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        self._average.update(self.step)
        self._since_report.append({name: value.detach() for name, value in losses.items()})

    def _batches(self, batch_of: BatchOf) -> Iterator[Any]:
        workers = min(_WORKERS, len(os.sched_getaffinity(0)) - 1) if self.device.type == "cuda" else 0
        steps = range(self.step, self._learning.steps)
        return batches(batch_of, self._seed + _BATCH_SEEDS, steps, workers)

    def take_average(self) -> None:
        """Replace the module's weights by their moving average."""
        self._average.copy_to_parameters()

    def _share_of_rate(self, step: int) -> float:
        if step < self._learning.warm_up:
            return (step + 1) / self._learning.warm_up
        done = min(1.0, step / self._learning.steps)
        return _LOWEST_RATE + (1 - _LOWEST_RATE) * (0.5 + 0.5 * math.cos(math.pi * done))

    @property
    def _report_every(self) -> int:
        """Return the number of steps between two reports.

        It divides the number of steps between two saves, so that runs in chunks report the same means.
        """
        return max(1, self._learning.save_every // _REPORTS_A_SAVE)

    def _report(self) -> None:
        """Print the mean losses since the last report."""
        steps = self._since_report
        values = {name: float(torch.stack([step[name] for step in steps]).mean()) for name in steps[0]}
        steps.clear()
        print(
            self._folder.name,
            self.step,
            *(f"{name} {value:.4f}" for name, value in values.items()),
            flush=True,
        )
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(f"training went astray at step {self.step}: {values}")

    def _save(self, chunk: Chunk) -> None:
        state = self._state()
        if chunk.carry is not None:
            state = state.rounded()
            self._take(state)
        state.save(self._folder / STATE)
        if chunk.carry is not None:
            chunk.carry(self._folder / STATE)

    def _state(self) -> State:
        tensors = {WEIGHTS + name: tensor for name, tensor in self.module.state_dict().items()}
        tensors |= {
            AVERAGE + name: value for name, value in zip(self._names, self._average.values, strict=True)
        }
        moments = self._optimizer.state_dict()["state"]
        for place, name in enumerate(self._names):
            if (of_parameter := moments.get(place)) is not None:
                tensors[UPDATES + name] = of_parameter["step"]
                tensors[FIRST_MOMENT + name] = of_parameter["exp_avg"]
                tensors[SECOND_MOMENT + name] = of_parameter["exp_avg_sq"]
        return State(self.step, tensors)

    @torch.no_grad()
    def _take(self, state: State) -> None:
        """Continue from a state, which is exact or rounded."""

        def of(kind: str) -> dict[str, torch.Tensor]:
            return {
                name.removeprefix(kind): tensor
                for name, tensor in state.tensors.items()
                if name.startswith(kind)
            }

        self.step = state.step
        self.module.load_state_dict(of(WEIGHTS))
        averages, updates, first, second = of(AVERAGE), of(UPDATES), of(FIRST_MOMENT), of(SECOND_MOMENT)
        for name, value in zip(self._names, self._average.values, strict=True):
            value.copy_(averages[name])
        moments = {
            place: {"step": updates[name], "exp_avg": first[name].float(), "exp_avg_sq": second[name].float()}
            for place, name in enumerate(self._names)
            if name in updates
        }
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
