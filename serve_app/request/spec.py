"""What a job is to make: a valid request, the recordings it came with, and all that chance has decided."""

from dataclasses import dataclass

from serve_app.request.schemas import GenerateRequest
from serve_app.request.stored_request import StoredRequest


@dataclass(frozen=True)
class Recording:
    """A source or reference recording, copied into the audio storage at submit."""

    uri: str
    seconds: float


@dataclass(frozen=True)
class JobSpec:
    """A valid request, with all that chance decides already decided: a retry makes the same music."""

    request: StoredRequest
    seeds: tuple[int, ...]
    """One per batch item."""
    codes: tuple[tuple[int, ...], ...] = ()
    """Audio codes that the user gave, one run per batch item; empty where none count."""
    source: Recording | None = None
    reference: Recording | None = None
    notes: tuple[str, ...] = ()
    """Sentences for `status_message`: fields that have no effect in this job, and damaged recordings."""

    def without_content(self) -> "JobSpec":
        """What is needed of a job that is not run again: its format, its callback, its number of songs."""
        request = self.request
        kept = GenerateRequest.model_construct(
            audio_format=request.audio_format, callback_url=request.callback_url
        )
        return JobSpec(kept, self.seeds)
