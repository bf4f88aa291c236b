"""Batches: jobs that were submitted together, in one transaction and with sequence numbers in a row.

A batch has no record of its own. Its id holds the range of its sequence numbers and random bits, and each
record names its batch, so a batch lasts as long as any of its jobs.
"""

import re
import secrets
from collections import defaultdict
from dataclasses import dataclass

from serve_app.jobs.model import Accepted, Job, JobState, Quota

MAX_BATCH = 1_000
"""Jobs of a batch."""
_RANDOM_BYTES = 10
_ID = re.compile(r"b([0-9]{1,18})\.([0-9]{1,4})\.[0-9a-f]{20}")


@dataclass(frozen=True)
class BatchAccepted:
    """The answer to a submit of a batch."""

    batch_id: str
    jobs: tuple[Accepted, ...]
    quotas: tuple[Quota, ...] = ()
    """The client's limits after the submit."""


@dataclass(frozen=True)
class BatchView:
    """A batch as clients see it."""

    batch_id: str
    client: str
    jobs: tuple[tuple[str, JobState], ...]
    """Ids and states of the jobs that are still there, in the order of the requests."""
    deleted: int
    """Number of the others."""

    @property
    def is_ended(self) -> bool:
        return all(state.is_final for _, state in self.jobs)


def new_batch_id(first: int, count: int) -> str:
    """Return the id of a new batch: `first` is the sequence number of its first job."""
    return f"b{first}.{count}.{secrets.token_hex(_RANDOM_BYTES)}"


def sequences_of(batch_id: str) -> tuple[int, int] | None:
    """Return (first sequence number, number of jobs) of a batch; None for what is no id."""
    match = _ID.fullmatch(batch_id)
    return None if match is None else (int(match[1]), int(match[2]))


class OpenBatches:
    """Which jobs of batches with a callback have not ended, so that the last one is known when it ends."""

    def __init__(self) -> None:
        self._open: defaultdict[str, set[str]] = defaultdict(set)

    def entered(self, job: Job) -> None:
        """Note a job that waits or runs."""
        if job.batch is not None and job.batch.callback_url is not None:
            self._open[job.batch.batch_id].add(job.job_id)

    def left(self, job: Job) -> bool:
        """Note that a job has ended or was withdrawn; tell whether all of its batch have now ended."""
        if job.batch is None or job.batch.callback_url is None:
            return False
        others = self._open[job.batch.batch_id]
        others.discard(job.job_id)
        if others:
            return False
        del self._open[job.batch.batch_id]
        return True
