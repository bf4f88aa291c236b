"""What the tracker tells about jobs, as it happens."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from configs.metrics import Delivery, FailureKind, Limit
from serve_app.jobs.model import Job

Outcome = FailureKind | Literal["succeeded", "cancelled", "handed_back", "requeued"]
"""How a run of a job ended: it failed in some way, it came to its end or was cancelled, the runner was shut
down, or an operator took the job from it."""


@dataclass(frozen=True)
class Load:
    """How much there is at one moment."""

    waiting: int
    oldest_seconds: float
    """Since the submit of the job that has waited longest; 0 where none waits."""
    running: int
    stored_bytes: int


@dataclass(frozen=True)
class StorageState:
    """What is odd about the storage, and about the clock that songs expire by."""

    unowned_folders: int
    """Folders of job stores that are not in use."""
    clock_ahead_seconds: float
    """How far the wall clock was set forward of late; ages do not count that."""


class JobObserver:
    """Hears each event once, however often a caller repeats itself. This one does nothing."""

    def submitted(self) -> None:
        """A job was put in line."""

    def refused(self, limit: Limit) -> None:
        """A submit was over a limit."""

    def claimed(self, job: Job) -> None:
        """A runner has begun an attempt."""

    def run_ended(self, job: Job, outcome: Outcome, at: float) -> None:
        """An attempt is over; the job is as the runner had it. `retried` or `ended` may follow."""

    def retried(self) -> None:
        """A job waits again after an attempt that failed."""

    def ended(self, job: Job) -> None:
        """A job has come to its final state."""

    def called_back(self, outcome: Delivery) -> None:
        """One try to deliver a callback is over."""

    def store_failed(self) -> None:
        """The job store gave or took no records."""

    def set_aside(self) -> None:
        """A record that could not be read was set aside."""

    def loaded(self, load: Load) -> None:
        """What there is now; told every few seconds."""

    def storage_seen(self, state: StorageState) -> None:
        """What the janitor knows; told every few seconds."""


class JobObservers(JobObserver):
    """Tells each event to several, in order."""

    def __init__(self, *observers: JobObserver) -> None:
        for name in (name for name in vars(JobObserver) if not name.startswith("_")):
            setattr(self, name, partial(_tell, [getattr(observer, name) for observer in observers]))


def _tell(hearers: list[Any], *event: Any) -> None:
    for hear in hearers:
        hear(*event)
