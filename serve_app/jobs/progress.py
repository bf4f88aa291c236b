"""The progress of a running job: the stage of its slowest item, and a fraction of the whole."""

import asyncio
import math
from itertools import accumulate

from deployments.common.messages import STAGES, Progress, Stage
from serve_app.jobs.model import Steps

STAGE_SHARES: dict[Stage, float] = {
    "planning": 0.05,
    "composing": 0.35,
    "denoising": 0.35,
    "decoding": 0.20,
    "encoding": 0.05,
}
"""Assumed fraction of a job's time by stage; the sum is 1."""

_BEFORE = dict(zip(STAGES, accumulate((0.0, *(STAGE_SHARES[stage] for stage in STAGES))), strict=False))

STORED_STEP = 0.25
"""The best progress of a job grows by this much until its record is written again."""


def stored_steps(progress: float) -> int:
    """Return the number of steps, of which the last may have only begun, that a job has made."""
    return math.ceil(progress / STORED_STEP)


def not_below(stored: float) -> float:
    """Return the least progress that no poll has exceeded, where the record held `stored`."""
    return stored_steps(stored) * STORED_STEP


def fraction_of_stage(stage: str, fraction: float) -> float:
    """Return how much of a stage is done (0…1) when `fraction` of the whole job is."""
    known = STAGES[STAGES.index(stage)]
    return min(1.0, max(0.0, (fraction - _BEFORE[known]) / STAGE_SHARES[known]))


class JobProgress:
    """Collects the `Progress` of all items of one job."""

    def __init__(self, items: int) -> None:
        self._items = [Progress("planning", 0, 1)] * items
        self.stage_changed = asyncio.Event()
        """Set when the job's stage changes; the task that waits for it clears it."""

    def enter(self, stage: Stage) -> None:
        """Set all items to the beginning of a stage."""
        for item, progress in enumerate(self._items):
            if progress.stage != stage:  # else the item's progress in this stage would be lost
                self.update(item, Progress(stage, 0, 1))

    def update(self, item: int, progress: Progress) -> None:
        before = self.stage
        self._items[item] = progress
        if self.stage != before:
            self.stage_changed.set()

    @property
    def stage(self) -> Stage:
        """The earliest stage that any item is in."""
        return min((item.stage for item in self._items), key=STAGES.index)

    @property
    def steps(self) -> Steps:
        """The steps of the item that has the most of the stage left."""
        stage = self.stage
        slowest = min(
            (item for item in self._items if item.stage == stage),
            key=lambda item: item.done / max(item.total, 1),
        )
        return Steps(slowest.done, slowest.total)

    @property
    def fraction(self) -> float:
        """The mean progress of the items, 0…1."""
        done = (
            _BEFORE[item.stage] + STAGE_SHARES[item.stage] * item.done / max(item.total, 1)
            for item in self._items
        )
        return sum(done) / len(self._items)
