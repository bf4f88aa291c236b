"""What is decided about a song before any sound is made."""

from dataclasses import dataclass, replace

from configs.domain import Task
from deployments.common.messages import Metadata
from serve_app.request.repainting import RepaintSpan


@dataclass(frozen=True)
class SongPlan:
    """Everything decided about a job once its metadata is complete."""

    task: Task
    """What the DiT does; a job with audio codes is a cover of them."""
    metadata: Metadata
    """Values the DiT's prompt carries, without a duration: items may differ in it."""
    durations: tuple[float, ...]
    """Seconds of each batch item."""
    span: RepaintSpan | None
    lm_answered: bool
    """Whether the LM filled in metadata."""
    notes: tuple[str, ...] = ()
    is_fallback: bool = False
    """Whether the LM was asked and did not answer: another attempt may get a better plan."""

    def item_metadata(self, item: int) -> Metadata:
        """Metadata of one batch item, its duration included."""
        return replace(self.metadata, duration=self.durations[item])
