"""A job tracker in a test. Its clock is simulated; its journal and store are real."""

import asyncio
from itertools import count
from typing import Any

from configs.settings import JobSettings
from serve_app.jobs.model import Accepted, Callback, Client, Job, JobView, NewJob
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import JobStore, MemoryJobStore
from serve_app.jobs.tracker import JobTracker
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.request.work import Work

WORK = Work(1, calls=(0.0, 0.0, 1.0, 0.0, 0.0), units=(0.0, 0.0, 80.0, 0.0, 10.0))
"""Ten seconds of music. All stages but denoising take no time."""

_runner = asyncio.Runner()


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Tracking:
    """A tracker with its journal, which can be restarted."""

    def __init__(
        self,
        clock: Clock | None = None,
        store: JobStore | None = None,
        steady: Clock | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.steady = steady or self.clock
        self.store = store or MemoryJobStore()
        self.settings = JobSettings(**settings)
        self._ids = map(str, count())
        self.start()

    def start(self) -> None:
        """Start a tracker that knows only what is stored."""
        self.journal = Journal(self.store)
        self.tracker = JobTracker(self.settings, self.journal, self.clock, steady=self.steady)

    def wait(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        for clock in {self.clock, self.steady}:
            clock.now += seconds

    def flush(self) -> None:
        _runner.run(self.journal.flushed())

    def restart(self) -> None:
        self.flush()
        self.start()

    def new_job(
        self,
        client: str = "",
        job_id: str | None = None,
        weight: float = 1.0,
        work: Work = WORK,
        callback_url: str | None = None,
        start_within_seconds: float | None = None,
        **fields: Any,
    ) -> NewJob:
        request = GenerateRequest(
            caption="calm piano", callback_url=callback_url, start_within_seconds=start_within_seconds
        )
        spec = JobSpec(request, seeds=(1,))
        return NewJob(job_id or f"job-{next(self._ids)}", spec, work, Client(client, weight), **fields)

    def submit(self, client: str = "", **fields: Any) -> str:
        """Submit a job that must be accepted, and return its id."""
        return self.take(self.new_job(client, **fields)).job_id

    def take(self, new: NewJob) -> Accepted:
        """Submit as the actor does: it first looks up the job's id and key in the store."""
        if new.idempotency is None:  # The record is found without a loop and a thread.
            return self.tracker.submit(new, self.record(new.job_id))
        return self.tracker.submit(new, _runner.run(self.journal.earlier(new)))

    def admit(self, client: str, idempotency_key: str | None) -> None:
        """Ask for admission as the actor does."""
        earlier = None
        if idempotency_key is not None:
            earlier = _runner.run(self.journal.with_key(client, idempotency_key))
        if earlier is None or not self.tracker.is_key_valid(earlier):
            self.tracker.admit(client)

    def record(self, job_id: str) -> Job | None:
        """Return the newest record of a job, whether it is written or not."""
        return self.store.get(job_id) if self.journal.is_written(job_id) else self.journal.saved(job_id)

    def view(self, job_id: str) -> JobView | None:
        """Poll as the actor does: a job that is not in memory is recalled first."""
        self.recall(job_id)
        return self.tracker.view(job_id)

    def recall(self, job_id: str) -> None:
        """Load a job that may be in the store only."""
        if not self.tracker.has_record(job_id) and (job := self.record(job_id)):
            self.tracker.recall(job)

    def tidied(self, job_id: str) -> None:
        """Let the storage have deleted what an ended job need not keep."""
        if job := self.tracker._book.unsettled(job_id):
            self.tracker.ended.tidied(job)

    def called_back(self, job_id: str, again: Callback | None) -> None:
        """Let a try of the callback of a job have been made."""
        if job := self.tracker._book.unsettled(job_id):
            self.tracker.ended.called_back(job, again)

    def batch_called_back(self, job_id: str, again: Callback | None) -> None:
        """Let a try of the callback of the batch that ended with a job have been made."""
        if job := self.tracker._book.unsettled(job_id):
            self.tracker.ended.batch_called_back(job, again)

    def run_next(self, seconds: float, **timings: float) -> str:
        """Run the first waiting job to its end, and return its id."""
        claim = self.tracker.claim(f"token of {next(self._ids)}")
        assert claim is not None
        self.wait(seconds)
        result = {"timings": timings or {"denoising": seconds}}
        assert self.tracker.finish(claim.job.job_id, claim.token, result, ("memory://song",), 1000)
        return claim.job.job_id

    def run_next_of(self, seconds: float) -> str:
        """Submit a job that takes this many seconds, and run it."""
        self.submit()
        return self.run_next(seconds)
