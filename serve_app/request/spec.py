"""The specification of a job: a valid request, its recordings and its seeds."""

from dataclasses import dataclass

from serve_app.request.schemas import GenerateRequest
from serve_app.request.stored_request import StoredRequest

_NO_CONTENT = GenerateRequest.model_construct()
"""A request of which only defaults are left. Making one takes as long as all else at the end of a job."""


@dataclass(frozen=True)
class Recording:
    """A source or reference recording, copied into the audio storage at submit."""

    uri: str
    seconds: float
    codes: tuple[int, ...] = ()
    """The codes from which this server made the recording, if it is a song of this server."""
    silent: bool = False
    """Whether all of it is silence; only a source may be (`allow_silent_source`)."""


@dataclass(frozen=True)
class JobSpec:
    """The input of a job. All random choices are made, so that a retry makes the same music."""

    request: StoredRequest
    seeds: tuple[int, ...]
    """One per item."""
    codes: tuple[tuple[int, ...], ...] = ()
    """Audio codes given by the user, one tuple per item; empty where none are used."""
    source: Recording | None = None
    reference: Recording | None = None
    dit: str | None = None
    """The DiT that makes the songs; None in records of earlier releases, whose servers had only one."""
    retake_seeds: tuple[int, ...] = ()
    """The seeds of the variations, one for each item; empty if the songs are not variations."""
    notes: tuple[str, ...] = ()
    """Sentences for `status_message` about fields without effect and damaged recordings."""

    def without_content(self) -> "JobSpec":
        """The specification of a job that will not run again: its format, callback and number of items."""
        kept = {"audio_format": self.request.audio_format, "callback_url": self.request.callback_url}
        return JobSpec(_NO_CONTENT.model_copy(update=kept), self.seeds)

    def without_content_and_callback(self) -> "JobSpec":
        """The same for a job about which nobody is told any more."""
        kept = {"audio_format": self.request.audio_format}
        return JobSpec(_NO_CONTENT.model_copy(update=kept), self.seeds)
