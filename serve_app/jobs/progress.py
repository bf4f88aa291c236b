"""How far a running job is: the stage of its slowest item, and a share of the whole."""

import asyncio
from itertools import accumulate

from deployments.common.messages import STAGES, Progress, Stage

STAGE_SHARES: dict[Stage, float] = {
    "planning": 0.05,
    "composing": 0.35,
    "denoising": 0.35,
    "decoding": 0.20,
    "encoding": 0.05,
}
"""What part of a job's time each stage is taken to be; together 1."""

_BEFORE = dict(zip(STAGES, accumulate((0.0, *(STAGE_SHARES[stage] for stage in STAGES))), strict=False))


def fraction_of_stage(stage: str, fraction: float) -> float:
    """How much of a stage is done, 0…1, by a job of which `fraction` is."""
    known = STAGES[STAGES.index(stage)]
    return min(1.0, max(0.0, (fraction - _BEFORE[known]) / STAGE_SHARES[known]))


class JobProgress:
    """Collects the `Progress` of all items of one job."""

    def __init__(self, items: int) -> None:
        self._items = [Progress("planning", 0, 1)] * items
        self.stage_changed = asyncio.Event()
        """Set when the job's stage changes; whoever waits for it clears it."""

    def enter(self, stage: Stage) -> None:
        """All items begin a stage together."""
        for item, progress in enumerate(self._items):
            if progress.stage != stage:  # or what is done of it already would be lost
                self.update(item, Progress(stage, 0, 1))

    def update(self, item: int, progress: Progress) -> None:
        before = self.stage
        self._items[item] = progress
        if self.stage != before:
            self.stage_changed.set()

    @property
    def stage(self) -> Stage:
        """The stage of the item that is least far."""
        return min((item.stage for item in self._items), key=STAGES.index)

    @property
    def fraction(self) -> float:
        """0…1, the mean over the items."""
        done = (
            _BEFORE[item.stage] + STAGE_SHARES[item.stage] * item.done / max(item.total, 1)
            for item in self._items
        )
        return sum(done) / len(self._items)
