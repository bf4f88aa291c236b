"""A job's ways into the line, back to it and out of it: whoever counts or forecasts hears of each."""

from typing import Any

from configs.metrics import FailureKind
from serve_app.jobs.book import JobBook
from serve_app.jobs.clocks import Clock
from serve_app.jobs.forecast.forecast import Forecast, work_left
from serve_app.jobs.model import Callback, Checkpoint, Job, JobState, Place
from serve_app.jobs.observer import JobObserver, Outcome
from serve_app.jobs.queue.admission import Admission
from serve_app.jobs.queue.job_queue import Waiting, WaitingLine
from serve_app.jobs.requeue import again


class Moves:
    """Of one tracker's jobs."""

    def __init__(
        self,
        book: JobBook,
        line: WaitingLine,
        forecast: Forecast,
        admission: Admission,
        wall: Clock,
        steady: Clock,
        observer: JobObserver,
        max_attempts: int,
    ) -> None:
        self._book = book
        self._line = line
        self._forecast = forecast
        self._admission = admission
        self._wall = wall
        self._steady = steady
        self._observer = observer
        self._max_attempts = max_attempts

    def enter(self, job: Job) -> None:
        """A job waits."""
        self._line.add(job.place, Waiting(job.job_id, job.client, work_left(job)))

    def requeue(self, job: Job, outcome: Outcome, **changes: Any) -> None:
        """A running job goes back to its place."""
        now = self._wall()
        self._forecast.stopped(job, self._steady())
        self._observer.run_ended(job, outcome, now)
        self.enter(self._book.save(job.waiting_again().with_(queued_at=now, **changes)))

    def reopen(self, job: Job, place: Place) -> None:
        """A job that ended goes back into the line. Raises RequeueError."""
        queued = self._book.reopen(job, again(job).with_(queued_at=self._wall(), place=place))
        self._admission.restored(queued)
        self.enter(queued)

    def attempt_failed(self, job: Job, kind: FailureKind, error: str, retryable: bool) -> None:
        """A running job goes back to its place while attempts are left, else it has failed."""
        if retryable and job.counted_attempts < self._max_attempts:
            self.requeue(job, kind)
            self._observer.retried()
        else:
            self.end(job, JobState.FAILED, kind, error=error, tidy_at=self._wall())

    def end(self, job: Job, state: JobState, outcome: Outcome, **changes: Any) -> Job:
        """A waiting or running job is over; its record."""
        now = self._wall()
        if job.state is JobState.QUEUED:
            self._line.remove(job.place)
        else:
            self._forecast.stopped(job, self._steady())
            self._observer.run_ended(job, outcome, now)
        callback = Callback(due_at=now) if job.spec.request.callback_url else None
        # Only a job that failed may be put back in line.
        spec = job.spec if state is JobState.FAILED else job.spec.without_content()
        changes |= {
            "spec": spec,
            "finished_at": now,
            "lease_expires_at": None,
            "checkpoint": Checkpoint(),
            "callback": callback,
        }
        ended = self._book.save(job.with_(state=state, **changes))
        self._admission.left(ended)
        self._observer.ended(ended)
        return ended

    def withdraw(self, job: Job) -> None:
        """A job that nobody was told of is taken back: it never was."""
        if job.state is JobState.QUEUED:
            self._line.remove(job.place)
        else:
            self._forecast.stopped(job, self._steady())
            self._observer.run_ended(job, "handed_back", self._wall())
        self._admission.withdrawn(job)
        self._book.delete(job)
