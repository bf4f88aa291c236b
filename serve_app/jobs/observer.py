"""The events that the tracker reports to its log, metrics and traces."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from configs.metrics import Delivery, FailureKind, Limit
from serve_app.jobs.model import Job

Outcome = FailureKind | Literal["succeeded", "cancelled", "handed_back", "requeued", "not_begun"]
"""How an attempt ended: a kind of failure, success, cancellation, `handed_back` (its runner released it), or
`requeued` (an operator requeued the job). `not_begun`: there was none until the job's deadline."""


@dataclass(frozen=True)
class Load:
    """The load at one moment."""

    waiting: int
    oldest_seconds: float
    """Seconds since the submit of the oldest queued job; 0 if the queue is empty."""
    running: int
    stored_bytes: int


@dataclass(frozen=True)
class StorageState:
    """Anomalies of the storage, and of the clock that determines the age of songs."""

    unowned_folders: int
    """Folders of job stores that are not in use."""
    clock_ahead_seconds: float
    """Seconds by which the wall clock was set forward recently; ages exclude them."""


class JobObserver:
    """Gets each event once, even if a caller repeats its call. This base class does nothing."""

    def submitted(self) -> None:
        """A job was submitted."""

    def refused(self, limit: Limit) -> None:
        """A submit exceeded a limit."""

    def claimed(self, job: Job) -> None:
        """A job was claimed, so an attempt begins."""

    def run_ended(self, job: Job, outcome: Outcome, at: float) -> None:
        """An attempt ended. `job` is the record before that; `retried` or `ended` may follow."""

    def retried(self) -> None:
        """A job was requeued after a failed attempt."""

    def ended(self, job: Job) -> None:
        """A job reached its final state."""

    def called_back(self, outcome: Delivery) -> None:
        """One try to deliver a callback ended."""

    def store_failed(self) -> None:
        """The job store could not be read or written."""

    def set_aside(self) -> None:
        """A record that could not be read was set aside."""

    def loaded(self, load: Load) -> None:
        """The present load, every few seconds."""

    def storage_seen(self, state: StorageState) -> None:
        """The state of the storage, every few seconds."""


class JobObservers(JobObserver):
    """Passes each event to several observers, in order."""

    def __init__(self, *observers: JobObserver) -> None:
        for name in (name for name in vars(JobObserver) if not name.startswith("_")):
            setattr(self, name, partial(_tell, [getattr(observer, name) for observer in observers]))


def _tell(hearers: list[Any], *event: Any) -> None:
    for hear in hearers:
        hear(*event)
