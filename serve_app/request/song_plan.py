"""The plan of a job: its task, metadata and durations after the LM has answered."""

from dataclasses import dataclass, replace

from configs.domain import Task
from deployments.common.messages import Metadata
from serve_app.request.repainting import RepaintSpan


@dataclass(frozen=True)
class SongPlan:
    """A draft whose metadata and durations are complete."""

    task: Task
    """The task of the DiT. A job with audio codes is a cover of them."""
    metadata: Metadata
    """Metadata for the DiT's prompt, without the duration, in which items may differ."""
    durations: tuple[float, ...]
    """Seconds of each item."""
    span: RepaintSpan | None
    lm_answered: bool
    """Whether the LM filled in metadata."""
    notes: tuple[str, ...] = ()
    is_fallback: bool = False
    """Whether the LM was asked and did not answer. Another attempt may get a better plan."""

    def item_metadata(self, item: int) -> Metadata:
        """The metadata of an item, including its duration."""
        return replace(self.metadata, duration=self.durations[item])
