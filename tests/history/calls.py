"""The history of a server as its clients saw it: each call with its times and its answer, and lost stores."""

from dataclasses import dataclass, field
from enum import StrEnum

OPEN = {"queued", "running"}
"""The states of a job that has not ended."""


class Kind(StrEnum):
    """What a client asked for."""

    SUBMIT = "submit"
    POLL = "poll"
    CANCEL = "cancel"
    PURGE = "purge"
    LIST = "list"


class Outcome(StrEnum):
    """What a client was told."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The job had ended before it could be cancelled."""
    NOT_FOUND = "not found"
    UNANSWERED = "unanswered"
    """An error or a time-out: nobody knows whether the call takes effect, or when."""


@dataclass(frozen=True)
class Shown:
    """A job as an answer showed it. A field that this kind of answer does not have is None."""

    job_id: str
    status: str
    queue_position: int = 0
    stage: str | None = None
    progress: float | None = None
    finished_at: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.status not in OPEN


@dataclass(frozen=True)
class Call:
    """One call. Its effect, if it had one, came between its start and its end, unless it is unanswered."""

    client: str
    kind: Kind
    start: float
    """Seconds of the monotonic clock of all clients."""
    end: float
    outcome: Outcome = Outcome.ANSWERED
    job_id: str | None = None
    """The job of a poll, a cancellation or a purge."""
    key: str | None = None
    """The idempotency key of a submit."""
    shown: tuple[Shown, ...] = ()
    """The job of the answer; of a list all jobs of the client, from all pages."""
    problem: str = ""
    """Why there is no answer."""

    def __str__(self) -> str:
        asked = " ".join(filter(None, [self.kind, self.key, self.job_id]))
        told = ", ".join(f"{job.job_id} {job.status}" for job in self.shown[:1])
        if self.kind is Kind.LIST:
            told = f"{len(self.shown)} jobs"
        times = f"{self.start:.3f} to {self.end:.3f}"
        return f"[{times} {self.client} {asked}: {told or self.outcome} {self.problem}".rstrip() + "]"


@dataclass(frozen=True)
class StoreLost:
    """The store lost everything, and the server noticed it before `end`.

    Meanwhile an answer may come from the memory of the server or from the empty store.
    """

    start: float
    end: float


@dataclass
class History:
    """What clients, which may be threads, have recorded. Times begin with the history."""

    calls: list[Call] = field(default_factory=list)
    losses: list[StoreLost] = field(default_factory=list)
