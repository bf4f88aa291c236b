"""The transitions of a job's state: each changes all that counts or forecasts jobs.

`serve_app.jobs.tracker` lists the transitions and has a method for each; what these have in common is here.
The one transition that is not here is `claim`, because it needs the order of the queue.
"""

from typing import Any

from configs.metrics import FailureKind
from serve_app.jobs.batches import OpenBatches
from serve_app.jobs.book import JobBook
from serve_app.jobs.clocks import Clock
from serve_app.jobs.counting import share
from serve_app.jobs.expiry import keep_until
from serve_app.jobs.forecast.forecast import Forecast, work_left
from serve_app.jobs.model import Callback, Checkpoint, Job, JobState, Place
from serve_app.jobs.observer import JobObserver, Outcome
from serve_app.jobs.queue.admission import Admission
from serve_app.jobs.queue.job_queue import JobQueue, QueuedJob
from serve_app.jobs.requeue import requeued_after_failure


class Transitions:
    """Changes the records, the queue, the forecast and the clients' limits together."""

    def __init__(
        self,
        book: JobBook,
        queue: JobQueue,
        forecast: Forecast,
        admission: Admission,
        wall: Clock,
        steady: Clock,
        observer: JobObserver,
        max_attempts: int,
        batches: OpenBatches,
    ) -> None:
        self._book = book
        self._queue = queue
        self._forecast = forecast
        self._admission = admission
        self._wall = wall
        self._steady = steady
        self._observer = observer
        self._max_attempts = max_attempts
        self._batches = batches

    def enqueue(self, job: Job) -> None:
        """Put a job whose record says `queued` into the queue."""
        self._batches.entered(job)
        self._queue.add(job.place, QueuedJob(job.job_id, job.client, work_left(job)))

    def requeue(self, job: Job, outcome: Outcome, **changes: Any) -> None:
        """Put a running job back to its place in the queue."""
        now = self._wall()
        self._forecast.stopped(job, self._steady())
        self._observer.run_ended(job, outcome, now)
        self.enqueue(self._book.save(job.requeued().with_(queued_at=now, **changes)))

    def requeue_failed(self, job: Job, place: Place) -> None:
        """Put a job that has failed into the queue again. Raises RequeueError."""
        queued = requeued_after_failure(job).with_(queued_at=self._wall(), place=place)
        self._book.save(queued, settled=job)
        self._admission.requeued(queued)
        self.enqueue(queued)

    def fail(self, job: Job, kind: FailureKind, error: str, retryable: bool) -> None:
        """End an attempt that failed: requeue the job while attempts are left, else end it as failed."""
        if retryable and job.counted_attempts < self._max_attempts:
            self.requeue(job, kind)
            self._observer.retried()
        else:
            self.end(job, JobState.FAILED, kind, error=error, tidy_at=self._wall())

    def end(self, job: Job, state: JobState, outcome: Outcome, **changes: Any) -> Job:
        """Give a queued or running job its final state; return its record."""
        now = self._wall()
        if job.state is JobState.QUEUED:
            self._queue.remove(job.place)
        else:
            self._forecast.stopped(job, self._steady())
            self._observer.run_ended(job, outcome, now)
        request = job.spec.request
        is_told = request.callback_url is not None and "finished" in request.callback_events
        callback = Callback(due_at=now) if is_told else None
        # Only a failed job can be requeued, so the others need not keep what their users asked for.
        spec = job.spec if state is JobState.FAILED else job.spec.without_content()
        changes |= {
            "spec": spec,
            "finished_at": now,
            "lease_expires_at": None,
            "checkpoint": Checkpoint(),
            "callback": callback,
            "start_by": None,
            "keep_until": keep_until(job, now),
            "batch_callback": Callback(due_at=now) if self._batches.left(job) else None,
            "counted": share(job, state, now, changes.get("result")),
        }
        ended = self._book.save(job.with_(state=state, **changes))
        self._admission.ended(ended)
        self._observer.ended(ended)
        return ended

    def withdraw(self, job: Job) -> None:
        """Remove a job whose submit failed, with its record."""
        if job.state is JobState.QUEUED:
            self._queue.remove(job.place)
        else:
            self._forecast.stopped(job, self._steady())
            self._observer.run_ended(job, "handed_back", self._wall())
        self._batches.left(job)
        self._admission.withdrawn(job)
        self._book.delete(job)
