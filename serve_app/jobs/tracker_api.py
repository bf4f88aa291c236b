"""The questions that other processes may ask the job tracker, and the client that is made from them.

`TrackerApi` is the one place where these methods are declared. `DurableTracker` implements it in the
tracker's process; mypy checks both the implementation and every call against it.
"""

import inspect
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol, cast

from configs.metrics import FailureKind
from serve_app.jobs.batches import BatchAccepted, BatchView
from serve_app.jobs.housekeeping.leftovers import Leftovers
from serve_app.jobs.housekeeping.purge import Purge, Purged
from serve_app.jobs.loaded_adapters import LoadedAdapters
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Accepted, Checkpoint, Claim, JobState, JobView, NewJob, Steps, TrackerStats
from serve_app.jobs.reading.news import News, OpenJobs
from serve_app.jobs.storing.store import SetAside
from serve_app.jobs.usage import ClientUsage


class TrackerApi(Protocol):
    """The tracker's methods for callers in other processes.

    `submit`, `claim`, `finish`, `fail`, `release`, `requeue`, `purge_job` and `set_mode` return once their
    change is durable, and raise StoreError (`submit`: NoRoomError) if it cannot be written. Other changes
    take effect at once, and are written when the store takes writes. Any method may be called again when its
    answer was lost: a repeated call changes nothing, except that a second `requeue` of a job that runs again
    begins it once more. All raise StoreError if the store must be read and
    cannot be, and StoreTakenError once another tracker owns the store.

    Arguments are positional only, because a call travels as a method name and a tuple of arguments. Replicas
    of the previous release call a new tracker for a moment, so a method that is renamed needs an entry in
    `serve_app.jobs.client.FORMER_CALLS`.
    """

    # For the HTTP API

    async def submit(self, new: NewJob, /) -> Accepted:
        """Put a job into the queue, or return the earlier job that it repeats.

        Raises DrainingError, LimitError, IdempotencyConflictError or NoRoomError.
        """

    async def submit_batch(self, news: tuple[NewJob, ...], callback_url: str | None, /) -> BatchAccepted:
        """Put the jobs of one client into the queue, all or none, or return the batch that they repeat.

        `callback_url` is told when all have ended. Only the first job may have an idempotency key. Raises
        DrainingError, LimitError, IdempotencyConflictError or NoRoomError.
        """

    async def batch(self, batch_id: str, client: str | None, /) -> BatchView | None:
        """Return a batch of `client` (None: of any client); None if the id is unknown, or no job is left."""

    async def cancel_batch(self, batch_id: str, client: str | None, /) -> BatchView | None:
        """Cancel the jobs of a batch that wait or run; None as in `batch`."""

    async def admit(self, client: str, idempotency_key: str | None, /) -> None:
        """Refuse early what `submit` would refuse now; a request that repeats an earlier one is admitted.

        Raises DrainingError, LimitError or NoRoomError.
        """

    async def cancel(self, job_id: str, /) -> JobView | None:
        """End a job that has not ended; None if the id is unknown. Raises JobEndedError."""

    async def purge_job(self, job_id: str, client: str | None, /) -> bool | None:
        """Delete all of a job of `client` (None: of any client), which is cancelled if it has not ended.

        Returns whether everything is gone already; if not, it will be, even after a crash. None if the id is
        unknown. Raises StoreError if that could not be made sure.
        """

    async def view(self, job_id: str, /) -> JobView | None:
        """Return the job as a poll sees it; None if the id is unknown."""

    async def page(
        self, client: str | None, state: JobState | None, before: int, limit: int, /
    ) -> list[JobView]:
        """Return a client's jobs (None: all clients') with a sequence below `before`, newest first."""

    async def wait(self, job_id: str, version: str, timeout: float, /) -> JobView | None:
        """Return the job once its `version` differs from the one given, or after `timeout` seconds."""

    async def wait_change(self, job_id: str, client: str | None, timeout: float, /) -> JobView | None:
        """Return the job once its state or stage is another than at the call, or after `timeout` seconds.

        It is returned at once if it has ended or belongs to another client than `client` (None: any client).
        """

    async def wait_end(self, job_id: str, timeout: float, /) -> JobView | None:
        """Return the job once it has ended, or as it stands after `timeout` seconds; None if unknown."""

    async def usage(self, client: str, first: str, last: str, /) -> ClientUsage:
        """Return what a client used on the days from `first` to `last` (ISO 8601), as far as it is stored."""

    async def stats(self) -> TrackerStats:
        """Return job counts and mean durations."""

    async def secret(self) -> bytes:
        """Return the key that signs tokens and callbacks; it stays the same while the store lives."""

    async def loaded_adapters(self, client: str, /) -> LoadedAdapters:
        """Return the adapters that a client has loaded for its jobs. They outlive a restart."""

    async def keep_adapters(self, client: str, loaded: LoadedAdapters, /) -> None:
        """Replace the adapters that a client has loaded."""

    # For processes that answer reads (`serve_app.jobs.reading`)

    async def open_jobs(self, after: int, limit: int, /) -> OpenJobs:
        """Return the first `limit` jobs with sequences above `after` that wait or run."""

    async def follow(self, follower: str, tracker: str, number: int, confirmed: int, /) -> News | None:
        """Return the changes since `number` once there are any, and let `follower` answer reads meanwhile.

        `follower` is a name that the caller gives itself, `tracker` that of the first copy, `confirmed` what
        was told last (-1: nothing yet). None: the changes are not known, so the caller needs a new copy.
        """

    async def unfollow(self, follower: str, /) -> None:
        """Forget a process that answers no reads from memory any more, so that no change waits for it."""

    # For runners

    async def claim(self, token: str, timeout: float, /) -> Claim | None:
        """Lease the next job under the runner's new token; None if there is none within `timeout` seconds."""

    async def heartbeat(
        self, job_id: str, token: str, stage: str, progress: float, steps: Steps | None = None, /
    ) -> bool:
        """Renew a lease and note the job's progress; False if the lease is lost and the work must stop.

        `steps` are those of the stage. Few heartbeats are written to the store.
        """

    async def lease_lost(self, job_id: str, token: str, timeout: float, /) -> bool:
        """Return True as soon as the runner must stop; False after `timeout` seconds."""

    async def checkpoint(self, job_id: str, token: str, checkpoint: Checkpoint, /) -> bool:
        """Keep the results of finished stages for the next attempt; False if the lease is lost."""

    async def finish(
        self, job_id: str, token: str, result: dict[str, Any], files: tuple[str, ...], file_bytes: int, /
    ) -> bool:
        """Publish the result of a leased job; False if the lease is lost.

        Raises TypeError if the result cannot be written as JSON.
        """

    async def fail(
        self, job_id: str, token: str, error: str, retryable: bool, kind: FailureKind = "internal", /
    ) -> bool:
        """End a failed attempt: requeue the job while attempts are left, else fail it with `error`.

        False if the lease is lost.
        """

    async def release(self, job_id: str, token: str, /) -> bool:
        """Requeue a leased job without counting the attempt; False if the lease is lost."""

    async def runner_stopped(self, job_id: str, /) -> None:
        """Note that the runner of a cancelled job writes no more files, so they may be deleted now."""

    # For operators (`serve_app.admin`) and autoscaling

    async def set_mode(self, mode: Mode, /) -> None:
        """Let the server take and begin jobs, or not. The mode is stored and survives restarts."""

    async def waiting(self, client: str | None, limit: int, /) -> list[JobView]:
        """Return the first queued jobs of a client (None: of all clients), in queue order."""

    async def requeue(self, job_id: str, /) -> JobView | None:
        """Put a failed or a running job back into the queue; None if the id is unknown.

        Raises RequeueError.
        """

    async def purge(self, wanted: Purge, dry_run: bool, /) -> Purged:
        """Delete files and records of ended jobs, in one step of limited size."""

    async def leftovers(self) -> Leftovers:
        """Return the folders of the storage that no record knows. Raises StorageError."""

    async def delete_left_by(self, store: str, /) -> int:
        """Delete the folders of a store that is not in use; return their number. Raises StorageError."""

    async def set_aside(self) -> list[SetAside]:
        """Return the records that could not be read and are kept apart."""

    async def demand(self) -> dict[str, dict[str, float]]:
        """Return work by stage: submitted since this tracker started, withdrawn of that, waiting, running.

        The work of checkpoints other than the server's defaults stands apart, under `stage/checkpoint`.
        `serve_app.autoscaling` calls it by name: Serve's controller, where it runs, lacks this module.
        """


METHODS = tuple(name for name, member in vars(TrackerApi).items() if inspect.iscoroutinefunction(member))


def client_over(call: Callable[..., Any]) -> TrackerApi:
    """Make a client of which every method is `call(name, *arguments)`; `call` returns an awaitable."""
    return cast(TrackerApi, SimpleNamespace(**{name: partial(call, name) for name in METHODS}))
