"""The interface through which the HTTP API uses the rest of the server."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from serve_app.jobs.batches import BatchAccepted, BatchView
from serve_app.jobs.loaded_adapters import LoadedAdapters
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Accepted, JobState, JobView, NewJob, TrackerStats
from serve_app.jobs.usage import ClientUsage
from serve_app.request.draft import Draft
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan


class UnavailableError(Exception):
    """The job tracker is being replaced. A retry will help."""


class Readiness(StrEnum):
    """Readiness of one part of the server."""

    READY = "ready"
    BUSY = "busy"
    """Healthy, but too busy to answer now; jobs wait for it."""
    SCALED_TO_ZERO = "scaled to zero"
    """No replica runs; jobs start one."""
    STARTING = "starting"
    """Starting from zero replicas; jobs wait for it."""
    AWAY = "away"


@dataclass(frozen=True)
class Condition:
    """The mode of the server and the readiness of its parts."""

    mode: Mode | None
    """None while the job tracker is away."""
    parts: Mapping[str, Readiness]
    """The job tracker and the deployments that a default request needs."""
    no_room: str | None = None
    """Why new jobs are refused although all parts work; None while there is room for them."""

    @property
    def away(self) -> list[str]:
        """Names of the parts that are away. Without them jobs cannot run."""
        return [name for name, readiness in self.parts.items() if readiness is Readiness.AWAY]


class JobService(Protocol):
    """The operations on jobs. The HTTP code uses nothing else of the server.

    Methods that ask the job tracker raise StoreError or UnavailableError while it cannot answer.
    """

    async def new_job_id(self) -> str:
        """An id that no job has."""

    async def submit(self, new: NewJob) -> Accepted:
        """Queue a job. Raises DrainingError, LimitError or IdempotencyConflictError."""

    async def submit_batch(self, news: tuple[NewJob, ...], callback_url: str | None) -> BatchAccepted:
        """Queue jobs of one client, all or none; errors as of `submit`."""

    async def batch(self, batch_id: str, client: str | None) -> BatchView | None:
        """A batch of a client (None: of any client); None where the id is unknown."""

    async def cancel_batch(self, batch_id: str, client: str | None) -> BatchView | None:
        """End the jobs of a batch that have not ended; None where the id is unknown."""

    async def admit(self, client: str, idempotency_key: str | None) -> None:
        """Check early whether `submit` would refuse a job now. Nothing is reserved.

        Raises DrainingError or LimitError.
        """

    async def view(self, job_id: str) -> JobView | None:
        """The current view of a job; None where the id is unknown."""

    async def cancel(self, job_id: str) -> JobView | None:
        """End a job; None where the id is unknown. Raises JobEndedError where it succeeded or failed."""

    async def purge_job(self, job_id: str, client: str | None) -> bool | None:
        """Delete all of a job of a client (None: any client's), which is cancelled if it has not ended.

        Returns whether all is gone already; if not, it will be, even after a crash. None where the id is
        unknown.
        """

    async def page(self, client: str, state: JobState | None, before: int, limit: int) -> list[JobView]:
        """Jobs of a client with a sequence below `before`, newest first."""

    async def wait(self, job_id: str, version: str, timeout: float) -> JobView | None:
        """The job as soon as its version differs from `version`.

        Raises TimeoutError where it is the same after `timeout` seconds.
        """

    async def wait_change(self, job_id: str, client: str | None, timeout: float) -> JobView | None:
        """The job as soon as its state or stage changes, at the latest after `timeout` seconds.

        A job that has ended or does not belong to `client` (None: any client) is returned at once.
        """

    async def wait_end(self, job_id: str, timeout: float) -> JobView | None:
        """The job as soon as it has ended, or as it stands after `timeout` seconds; None where unknown."""

    async def usage(self, client: str, first: str, last: str) -> ClientUsage:
        """Return what a client used on the days from `first` to `last` (ISO 8601)."""

    async def stats(self) -> TrackerStats: ...

    async def secret(self) -> bytes:
        """The key for signing tokens. It is the same on every replica and lasts as long as the job store."""

    async def loaded_adapters(self, client: str) -> LoadedAdapters:
        """The adapters that a client has loaded for its jobs."""

    async def keep_adapters(self, client: str, loaded: LoadedAdapters) -> None:
        """Replace the adapters that a client has loaded."""

    async def replicas(self) -> dict[str, int]:
        """Number of running replicas by deployment."""

    async def condition(self) -> Condition:
        """The current condition. Raises nothing."""

    async def plan(self, draft: Draft) -> SongPlan:
        """The plan of a song, made at once and beside the queue, within 20 s.

        What the LM does not answer by then has a replacement and a note, as in a job. Raises JobError if the
        texts are too long for the LM.
        """

    async def prompt_fits(self, request: GenerateRequest, code_count: int) -> bool:
        """Whether the LM's context holds a request's prompt and `code_count` codes; True while it is down."""
