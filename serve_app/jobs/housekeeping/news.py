"""Which clients are told of a job that runs (`callback_events`: started, progress), and when.

This is kept in memory alone: after a restart of the tracker a client may be told once more that a job has
started, under the same message id. What is told of the end of a job is durable, and not decided here.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from serve_app.jobs.clocks import Clock
from serve_app.jobs.model import Job, JobState

Event = Literal["started", "progress", "finished", "batch"]

PAUSE_SECONDS = 5.0
"""Shortest time between two messages about a job that runs, and between two tries of one."""


@dataclass(frozen=True)
class Message:
    """Something that a client is to be told."""

    job: Job
    event: Event
    message_id: str
    """The same in each try."""

    @property
    def is_of_end(self) -> bool:
        """Whether it tells of an end, of the job or of its batch."""
        return self.event in {"finished", "batch"}

    @property
    def url(self) -> str:
        """The receiver."""
        if self.event == "batch" and self.job.batch is not None:
            return str(self.job.batch.callback_url)
        return str(self.job.spec.request.callback_url)


@dataclass(frozen=True)
class _Told:
    """The news that the client of one job has been told."""

    is_started: bool = False
    state: tuple[int, str, float] | None = None
    """Attempt, stage and progress of the last message."""
    next_at: float = 0.0
    """Time of the steady clock before which there is no further message."""


def wants_news(job: Job) -> bool:
    """Tell whether somebody is told of a job before its end."""
    request = job.spec.request
    is_wanted = "started" in request.callback_events or "progress" in request.callback_events
    return job.state is JobState.RUNNING and request.callback_url is not None and is_wanted


class News:
    """Remembers what was told of each running job."""

    def __init__(self, steady: Clock) -> None:
        self._steady = steady
        self._told: dict[str, _Told] = {}

    def due(self, running: Collection[Job]) -> list[Message]:
        """Return what is to be told now of the running jobs that want it. Others are forgotten."""
        self._told = {job.job_id: self._told.get(job.job_id, _Told()) for job in running}
        now = self._steady()
        messages = (self._of(job) for job in running if self._told[job.job_id].next_at <= now)
        return [message for message in messages if message is not None]

    def sent(self, message: Message, delivered: bool) -> None:
        """Note a try. A start that was not delivered is told again; progress is not, because it goes on."""
        told = self._told.get(message.job.job_id)
        if told is None:
            return
        is_started = told.is_started or (message.event == "started" and delivered)
        next_at = self._steady() + PAUSE_SECONDS
        self._told[message.job.job_id] = replace(
            told, is_started=is_started, state=_state(message.job), next_at=next_at
        )

    def _of(self, job: Job) -> Message | None:
        told, events = self._told[job.job_id], job.spec.request.callback_events
        if "started" in events and not told.is_started:
            return Message(job, "started", f"{job.job_id}.started")
        if "progress" in events and told.state != _state(job):
            attempt, stage, progress = _state(job)
            return Message(job, "progress", f"{job.job_id}.{attempt}.{stage}.{progress:.3f}")
        return None


def _state(job: Job) -> tuple[int, str, float]:
    return job.attempt, job.stage, round(job.shown_progress, 3)
