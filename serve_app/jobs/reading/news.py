"""The messages by which processes that answer reads follow the tracker."""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.jobs.forecast.outlook import Figures, RunLeft
from serve_app.jobs.model import JobView, Place
from serve_app.request.work import Work

LEASE_SECONDS = 2.0
"""For how long a process may answer reads without news, counted from when it last asked for them."""


@dataclass(frozen=True)
class OpenJob:
    """A job that waits or runs."""

    view: JobView
    """The job without its position and its times, which the reading process computes."""
    place: Place
    work: Work
    """The work of its next attempt, or of the one under way when that began."""
    run: RunLeft | None
    """What is left of the attempt under way; None while it waits."""


@dataclass(frozen=True)
class OpenJobs:
    """One page of the jobs that wait or run, in the order of their submission."""

    tracker: str
    """A name of the tracker that differs after each of its starts."""
    number: int
    """The number of its last change: following it from here on tells all that these jobs lack."""
    jobs: tuple[OpenJob, ...]
    next_after: int | None
    """The sequence after which the next page begins; None: this is the last page."""


@dataclass(frozen=True)
class Change:
    """The newest change of a job that has been published."""

    number: int
    job: OpenJob | None
    """None: the job has ended or is unknown, and the tracker must be asked for it."""


@dataclass(frozen=True)
class News:
    """What has changed since the number that the reading process named."""

    number: int
    """The number of the last change."""
    changes: Mapping[str, Change]
    """By job id."""
    confirmed: int
    """All who answer reads know of the changes up to this number, so these may be shown."""
    figures: Figures | None
    """The figures for predictions without the attempts under way, which the jobs tell; None: as before."""
    now: float
    """Time of the tracker's steady clock."""
