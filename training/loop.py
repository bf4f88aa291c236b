"""Runs the training loop of every stage. It is deterministic and can be continued in chunks.

Step k draws everything from generators seeded with k. A run that was cut into chunks therefore gives the same
result as one long run, however many processes prepare its batches.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn
from torch.utils.data import DataLoader, Dataset

from training.clock import Clock
from training.recipe import Learning

Losses = Mapping[str, torch.Tensor]
"""Losses by name. `loss` is minimised; the others are only printed."""
BatchOf = Callable[[torch.Generator], Any]
"""Draws a batch on the CPU. The generator is its only source of randomness."""
LossOf = Callable[[nn.Module, Any, torch.Generator], Losses]
"""Computes the losses of the module for a batch.

The generator, on the CPU, is the only source of randomness.
"""

_SAVE_EVERY = 500
_PRINT_EVERY = 100
_LOWEST_RATE = 0.1
_WORKERS = 12
"""Processes that prepare batches for a GPU, if the machine has as many processors."""


_BATCH_SEEDS = 2**40
"""Offset of the seeds of batches, which keeps them apart from the seeds of the losses."""


class _Batches(Dataset[Any]):
    """The batches of all steps, indexed by step."""

    def __init__(self, batch_of: BatchOf, seed: int) -> None:
        self._batch_of = batch_of
        self._seed = seed

    def __getitem__(self, step: int) -> Any:
        return self._batch_of(torch.Generator().manual_seed(self._seed + step))


class Training:
    """The training of one stage, whose state is saved in `folder`."""

    def __init__(self, folder: Path, module: nn.Module, learning: Learning, seed: int) -> None:
        """Continue from the state in `folder` if there is one. `module` is changed in place."""
        self._folder = folder
        self._learning = learning
        self._seed = seed
        self._accelerator = Accelerator()
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            self._parameters, lr=learning.rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self._average = EMAModel(self._parameters, decay=learning.averaging)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._share_of_rate)
        self.module, self._optimizer = self._accelerator.prepare(module, optimizer)
        self._accelerator.register_for_checkpointing(self._average, self._schedule)
        # In this case the last save was interrupted.
        if not self._state.is_dir() and self._outdated.is_dir():
            self._outdated.rename(self._state)
        if self._state.is_dir():
            self._accelerator.load_state(str(self._state))
        self._average.to(self.device)

    @property
    def device(self) -> torch.device:
        device: torch.device = self._accelerator.device
        return device

    @property
    def step(self) -> int:
        """Return the number of steps that are done."""
        return int(self._schedule.last_epoch)

    @property
    def is_done(self) -> bool:
        return self.step >= self._learning.steps

    def run(self, batch_of: BatchOf, loss_of: LossOf, clock: Clock) -> bool:
        """Train until the clock rings. Return whether the stage is done. Raises FloatingPointError on NaN."""
        self.module.train()
        self._since_report: list[Losses] = []
        for batch in self._batches(batch_of):
            if clock.has_rung:
                break
            # bfloat16 products are several times as fast, also on processors with AMX. Weights stay in
            # float32.
            with torch.autocast(self.device.type, torch.bfloat16):
                losses = loss_of(self.module, batch, torch.Generator().manual_seed(self._seed + self.step))
            self._accelerator.backward(losses["loss"])
            self._accelerator.clip_grad_norm_(self._parameters, self._learning.clip)
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._schedule.step()
            self._average.step(self._parameters)
            self._since_report.append({name: value.detach() for name, value in losses.items()})
            if self.step % _PRINT_EVERY == 0 or self.is_done:
                self._report()
            if self.step % _SAVE_EVERY == 0:
                self._save()
        self._save()
        return self.is_done

    def _batches(self, batch_of: BatchOf) -> DataLoader[Any]:
        workers = min(_WORKERS, len(os.sched_getaffinity(0)) - 1) if self.device.type == "cuda" else 0
        return DataLoader(
            _Batches(batch_of, self._seed + _BATCH_SEEDS),
            batch_size=None,
            sampler=range(self.step, self._learning.steps),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
        )

    def take_average(self) -> None:
        """Replace the module's weights by their moving average."""
        self._average.copy_to(self._parameters)

    def _share_of_rate(self, step: int) -> float:
        if step < self._learning.warm_up:
            return (step + 1) / self._learning.warm_up
        done = min(1.0, step / self._learning.steps)
        return _LOWEST_RATE + (1 - _LOWEST_RATE) * (0.5 + 0.5 * math.cos(math.pi * done))

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

    @property
    def _state(self) -> Path:
        return self._folder / "state"

    @property
    def _outdated(self) -> Path:
        return self._folder / "state.old"

    def _save(self) -> None:
        aside, outdated = self._folder / "state.part", self._outdated
        for folder in (aside, outdated):
            shutil.rmtree(folder, ignore_errors=True)
        self._accelerator.save_state(str(aside))
        if self._state.exists():
            self._state.rename(outdated)
        aside.rename(self._state)
        shutil.rmtree(outdated, ignore_errors=True)
