"""The plan of a job: its task, metadata and durations after the LM has answered."""

from dataclasses import dataclass, replace

from configs.domain import Task
from deployments.common.messages import Metadata
from serve_app.request.repainting import RepaintSpan


@dataclass(frozen=True)
class SongWords:
    """The words that a song is made from: the user's, or the LM's in their place."""

    caption: str
    lyrics: str
    language: str


@dataclass(frozen=True)
class SongPlan:
    """A draft whose words, metadata and durations are complete."""

    task: Task
    """The task of the DiT. A job with audio codes is a cover of them."""
    metadata: Metadata
    """Metadata for the DiT's prompt, without the duration, in which items may differ.

    Its caption and language are those that the LM worded with the metadata. The DiT gets them in place of the
    words'.
    """
    durations: tuple[float, ...]
    """Seconds of each item."""
    span: RepaintSpan | None
    lm_answered: bool
    """Whether the LM filled in metadata."""
    notes: tuple[str, ...] = ()
    is_fallback: bool = False
    """Whether the LM was asked and did not answer. Another attempt may get a better plan."""
    words: SongWords | None = None
    """None in plans of earlier releases: the request's own."""

    def item_metadata(self, item: int) -> Metadata:
        """The metadata of an item, including its duration."""
        return replace(self.metadata, duration=self.durations[item])
