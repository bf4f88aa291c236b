"""The job tracker: the queue of jobs, their leases and their history.

The states of a job and its transitions. Each transition has one verb, in this class and in its parts:

| verb | from | to | cause |
| --- | --- | --- | --- |
| submit | | queued | a client's request |
| withdraw | queued, running | (no record) | the store did not take the submit, and its client was told so |
| claim | queued | running | a runner is free: it gets a lease, and an attempt begins |
| requeue | running | queued | `release`, a retryable `fail`, an expired lease, an operator's `requeue` |
| requeue | failed | queued | an operator's `requeue` |
| finish | running | succeeded | the runner publishes the result |
| fail | running | failed | an error that no retry can mend, or the last attempt failed or was lost |
| fail | queued | failed | it had not begun by its deadline |
| cancel | queued, running | cancelled | the client or an operator |
| purge | any | the same, or cancelled; then (no record) | the client |

A requeued job goes back to its original place in the queue. An attempt that its runner releases (its replica
shuts down) does not count; one that fails or whose lease expires does. So a process that dies costs an
attempt and never a job.

`JobTracker` is a plain class that gets its clocks and its journal; `serve_app.jobs.durable_tracker` serves it
to other processes. It reads the store when it is made and never again: its callers read the record of a job
that was settled long ago and give it to `recall`. Methods whose answer may be lost can be repeated: the
second call returns the same answer and changes nothing.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from configs.metrics import FailureKind
from configs.settings import JobSettings, StorageSettings, WebhookSettings
from serve_app.jobs.batches import BatchAccepted, OpenBatches, new_batch_id
from serve_app.jobs.book import JobBook
from serve_app.jobs.clocks import CautiousClock, Clock
from serve_app.jobs.ended import EndedJobs
from serve_app.jobs.errors import DrainingError, JobEndedError, LimitError
from serve_app.jobs.expiry import expires_at
from serve_app.jobs.forecast.demand import Arrivals, demand
from serve_app.jobs.forecast.eta import HISTORY_JOBS, SpeedHistory
from serve_app.jobs.forecast.forecast import Forecast, work_left
from serve_app.jobs.forecast.outlook import Figures
from serve_app.jobs.housekeeping.news import wants_news
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import (
    Accepted,
    BatchMember,
    Checkpoint,
    Claim,
    Client,
    Job,
    JobState,
    JobView,
    NewJob,
    Steps,
    TrackerStats,
)
from serve_app.jobs.observer import JobObserver, Load
from serve_app.jobs.progress import not_below, stored_steps
from serve_app.jobs.queue.admission import Admission
from serve_app.jobs.queue.fairness import FairClock
from serve_app.jobs.queue.job_queue import JobQueue
from serve_app.jobs.queue.starting import NOT_BEGUN, StartDeadlines
from serve_app.jobs.reading.news import OpenJob
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import JobStore
from serve_app.jobs.transitions import Transitions
from serve_app.jobs.usage import ClientUsage, Usage, UsageKey, day_of

TOO_MANY_ATTEMPTS = "The server lost the process that ran this job, {attempts} times in a row."

_UNOBSERVED = JobObserver()


class JobTracker:
    """Order, positions, leases and history of all jobs."""

    def __init__(
        self,
        settings: JobSettings,
        journal: Journal,
        wall: Clock,
        observer: JobObserver = _UNOBSERVED,
        steady: Clock | None = None,
        retention: StorageSettings | None = None,
        webhooks: WebhookSettings | None = None,
    ) -> None:
        """Read the store; blocks meanwhile. Raises StoreError.

        `steady` is the clock for durations, which nobody can set; None: use `wall` for them, too. `retention`
        tells how long ended jobs are kept, and `webhooks` when callbacks that failed are tried again, by
        default as in the default settings.
        """
        self._settings = settings
        self._retention = retention or StorageSettings()
        self._wall = wall
        self._steady = steady or wall
        self._observer = observer
        self._book = JobBook(journal)
        self._speeds = SpeedHistory(settings.initial_job_seconds)
        self._queue = JobQueue()
        self._forecast = Forecast(self._speeds, self._queue)
        self._fair = FairClock()
        self._next_sequence = journal.store.next_sequence()
        self._arrivals = Arrivals(self._next_sequence)
        today = day_of(wall())
        used_today = journal.store.usage(None, today, today)
        self._admission = Admission(settings, journal.store.stored_bytes(), wall, used_today)
        self._starting = StartDeadlines(wall, self._steady)
        self._batches = OpenBatches()
        self._transitions = Transitions(
            self._book,
            self._queue,
            self._forecast,
            self._admission,
            wall,
            self._steady,
            observer,
            settings.max_attempts,
            self._batches,
        )
        self.ended = EndedJobs(
            self._book,
            self._admission,
            wall,
            self._steady,
            settings.lease_seconds,
            webhooks or WebhookSettings(),
        )
        self.mode = journal.store.mode()
        newest = journal.store.page(None, None, sys.maxsize, 1)
        latest = newest[0].ages_from if newest else None
        self._restore(journal.store)
        self._cautious_now = CautiousClock(wall, self._steady, latest)

    # For clients

    def repeated(self, new: NewJob, stored: Job | None) -> Accepted | None:
        """Return the answer to a submit that repeats an earlier one; None if it repeats none.

        `stored` is the store's record with its id or its idempotency key. Raises IdempotencyConflictError.
        """
        earlier = self._book.submitted_before(new, stored, self._cautious_now())
        return self._accepted(earlier, new.client) if earlier else None

    def submit(self, new: NewJob, stored: Job | None = None) -> Accepted:
        """Put a job into the queue, unless it repeats one.

        Raises DrainingError, LimitError or IdempotencyConflictError.
        """
        if accepted := self.repeated(new, stored):
            return accepted
        self._check(new.client.name, [new])
        return self._accepted(self._enter(new), new.client)

    def submit_batch(self, news: Sequence[NewJob], callback_url: str | None) -> BatchAccepted:
        """Put the jobs of one client into the queue, all or none.

        Whether they repeat an earlier batch is known by `repeated` for the first one. Raises DrainingError or
        LimitError.
        """
        client = news[0].client
        self._check(client.name, news)
        batch = BatchMember(new_batch_id(self._next_sequence, len(news)), callback_url)
        jobs = [self._enter(new, batch) for new in news]
        accepted = tuple(self._accepted(job, client) for job in jobs)
        return BatchAccepted(batch.batch_id, accepted, accepted[-1].quotas)

    def _enter(self, new: NewJob, batch: BatchMember | None = None) -> Job:
        last = self._queue.last_of(new.client.name, -new.priority)
        place = self._fair.place(new.client, new.priority, new.work, last, self._next_sequence)
        self._next_sequence += 1
        job = Job.queued(new, place, self._wall(), self._cautious_now(), batch)
        self._admission.submitted(job, self._steady())
        self._arrivals.submit(job)
        self._transitions.enqueue(self._book.save(job))
        self._starting.watch(job)
        self._observer.submitted()
        return job

    def admit(self, client: str) -> None:
        """Refuse a request before its recordings are read if `submit` would refuse it now.

        Nothing is reserved, so `submit` may refuse it later. Raises DrainingError or LimitError.
        """
        self._check(client)

    def is_key_valid(self, earlier: Job) -> bool:
        """Tell whether a submit under the idempotency key of this job would repeat it."""
        return self._book.is_key_valid(earlier, self._cautious_now())

    def _check(self, client: str, news: Sequence[NewJob] = ()) -> None:
        """Raise DrainingError or LimitError if a client may not submit these jobs; without any: a job."""
        if self.mode is Mode.DRAINING:
            raise DrainingError
        try:
            self._admission.check(
                client,
                sum(new.uploaded_bytes for new in news),
                len(self._queue),
                self._forecast,
                self._steady(),
                max(1, len(news)),
            )
            if news:
                self._admission.check_budget(news[0].client, sum(new.work.audio_seconds for new in news))
        except LimitError as error:
            self._observer.refused(error.limit)
            quotas = self._admission.quotas(news[0].client, self._steady()) if news else ()
            raise LimitError(error.message, error.retry_after, error.limit, quotas) from None

    def withdraw(self, new: NewJob) -> None:
        """Remove a job that could not be made durable and whose client was told that the submit failed."""
        job = self._book.unsettled(new.job_id)
        if job is None:
            return
        if job.state.is_final:  # It was cancelled, or its deadline passed, before it was durable.
            self.ended.withdrawn(job)
            return
        self._arrivals.withdraw(job)
        self._transitions.withdraw(job)

    def has_record(self, job_id: str) -> bool:
        """Tell whether a job's record is in memory; if not, `recall` it before other methods are called."""
        return self._book.get(job_id) is not None

    def recall(self, job: Job) -> None:
        """Keep the record of a settled job that was read from the store."""
        self._book.recall(job)

    def set_aside(self, state: JobState) -> None:
        """Stop counting a settled job of this state whose record could not be read and was set aside."""
        self._book.counts[state] -= 1

    def view(self, job_id: str) -> JobView | None:
        """Return a job as polls see it; None if its record is not in memory, or if it was purged."""
        job = self._known(job_id)
        return None if job is None else self.view_of(job)

    def view_of_stored(self, stored: Job) -> JobView | None:
        """Return a job that the store returned as polls see it; None if it was purged or deleted since."""
        job = self._book.newest(stored)
        return None if job is None or job.purged else self.view_of(job)

    def view_for_callback(self, job_id: str) -> JobView | None:
        """Return a job as its callback tells of it; of a purged job that is a view without content."""
        job = self._book.get(job_id)
        return None if job is None else self.view_of(job)

    def view_of(self, job: Job) -> JobView:
        """Return a record as polls see it."""
        eta = self._forecast.until_result(job, self._steady())
        average = self._speeds.average_job_seconds
        return JobView.of(job, self._position(job), eta, average, expires_at(job, self._retention))

    def cancel(self, job_id: str) -> JobView | None:
        """Remove a job from the queue or end its lease; None if its record is not in memory.

        Raises JobEndedError if it has succeeded or failed.
        """
        job = self._known(job_id)
        if job is None or job.state is JobState.CANCELLED:
            return self.view(job_id)
        if job.state.is_final:
            raise JobEndedError(job.state)
        # Its runner may still write: files are deleted after `runner_stopped`, or when the lease would end.
        self._arrivals.withdraw(job)
        still_writing = 0.0
        if job.state is JobState.RUNNING and job.lease_expires_at is not None:
            still_writing = job.lease_expires_at - self._steady()
        tidy_at = self._wall() + max(0.0, still_writing)
        cancelled = self._transitions.end(job, JobState.CANCELLED, "cancelled", tidy_at=tidy_at)
        self.ended.cancelled(cancelled)
        self.ended.schedule(cancelled)
        return self.view_of(cancelled)

    def purge(self, job_id: str, client: str | None) -> bool:
        """Begin to delete all of a job; False if its record is not in memory or is another client's.

        `client` is the owner that the job must have; None: any. A job that has not ended is cancelled. Its
        record stays, without content, until its files are deleted and its callback is made.
        """
        job = self._book.get(job_id)
        if job is None or client not in {None, job.client}:
            return False
        if job.purged:
            return True
        if not job.state.is_final:
            self.cancel(job_id)
            job = self._book.unsettled(job_id) or job
        self.ended.schedule(self._book.save(job.purged_at(self._wall()), settled=job))
        return True

    def with_news(self) -> list[Job]:
        """Return the running jobs of which somebody is told before their end."""
        return [job for job in self._book.running if wants_news(job)]

    def purged(self, job_id: str) -> Job | None:
        """Return what is left of the record of a purged job; None for other jobs, and once it is deleted."""
        job = self._book.unsettled(job_id)
        return job if job is not None and job.purged else None

    # For processes that answer reads (`serve_app.jobs.reading`)

    def tell_changes(self, on_change: Callable[[str], object]) -> None:
        """Call a function with the id of each job whose record has changed or was deleted."""
        self._book.on_change = on_change

    def open_job(self, job_id: str) -> OpenJob | None:
        """Return a job that waits or runs; None for others."""
        job = self._book.unsettled(job_id)
        if job is None or job.state.is_final:
            return None
        run = self._forecast.figures().runs.get(job_id)
        return OpenJob(JobView.of(job, 0, None, 0.0, None), job.place, work_left(job), run)

    def open_jobs(self) -> list[tuple[int, str]]:
        """Return the sequence and the id of each job that waits or runs, in the order of submission."""
        return sorted(
            (job.place.sequence, job.job_id)
            for jobs in (self._book.queued, self._book.running)
            for job in jobs
        )

    def begun(self) -> set[str]:
        """Return the ids of the jobs that have begun or ended, without those that are settled.

        The end of a settled job is known to every process that answers polls (`Janitor.sweep`).
        """
        again = {job.job_id for job in self._book.queued if job.claimed_at is not None}
        return again | {job.job_id for jobs in (self._book.running, self._book.ended) for job in jobs}

    def figures(self) -> Figures:
        """Return what predictions need beside the queue."""
        return self._forecast.figures()

    # For runners

    def claim(self, token: str) -> Claim | None:
        """Lease the first queued job under the runner's new token; None if no job may begin."""
        for job in self._book.running:
            if job.lease_token == token:
                return Claim(job, token)
        waiting = self._book.unsettled(self._queue.first() or "")
        if waiting is None or self.mode is Mode.PAUSED:
            return None
        now = self._steady()
        lease_end = now + self._settings.lease_seconds
        claimed = self._book.save(waiting.claimed(token, self._wall(), lease_end))
        self._queue.remove(claimed.place)
        self._starting.forget(claimed.job_id)
        self._fair.claimed(claimed.client, claimed.place)
        self._forecast.claimed(claimed, now)
        self._observer.claimed(claimed)
        return Claim(claimed, token)

    def heartbeat(
        self, job_id: str, token: str, stage: str, progress: float, steps: Steps | None = None
    ) -> bool:
        """Renew a lease and note the job's progress; False if the lease is lost and the work must stop.

        A restarted tracker gives every runner a new lease, so the record is written only where the best
        progress enters another of the steps by which a restart raises it (`serve_app.jobs.progress`).
        """
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        now = self._steady()
        lease_end = now + self._settings.lease_seconds
        best = max(progress, job.shown_progress)
        renewed = job.with_(
            stage=stage,
            progress=progress,
            steps=steps,
            best_progress=best,
            lease_expires_at=lease_end,
        )
        if stored_steps(best) > stored_steps(job.best_progress):
            self._book.save(renewed)
        else:
            self._book.remember(renewed)
        self._forecast.heard(renewed, now)
        return True

    def checkpoint(self, job_id: str, token: str, checkpoint: Checkpoint) -> bool:
        """Keep the results of finished stages for the next attempt; False if the lease is lost."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        plan = checkpoint.plan
        work = job.work if plan is None else job.work.lasting(sum(plan.durations))
        self._admission.planned(self._book.save(job.with_(checkpoint=checkpoint, work=work)))
        return True

    def finish(
        self, job_id: str, token: str, result: dict[str, Any], files: tuple[str, ...], file_bytes: int
    ) -> bool:
        """Publish the result of a leased job; False if the lease is lost and nothing was published."""
        job = self._leased_job(job_id, token)
        if job is None:
            return self._ended_by(job_id, token, JobState.SUCCEEDED)
        self._forecast.finished(job, self._steady(), result.get("timings", {}))
        published = {"result": result, "files": files, "file_bytes": file_bytes}
        done = {"stage": "done", "progress": 1.0, "tidy_at": self._wall()}
        self._transitions.end(job, JobState.SUCCEEDED, "succeeded", **done, **published)
        return True

    def fail(
        self, job_id: str, token: str, error: str, retryable: bool, kind: FailureKind = "internal"
    ) -> bool:
        """Requeue a leased job while attempts are left, else end it with one sentence for the user.

        False if the lease is lost; a repeated call finds it lost if the first one requeued the job.
        """
        job = self._leased_job(job_id, token)
        if job is None:
            return self._ended_by(job_id, token, JobState.FAILED)
        self._transitions.fail(job, kind, error, retryable)
        return True

    def release(self, job_id: str, token: str) -> bool:
        """Requeue a leased job whose runner shuts down; the attempt does not count."""
        job = self._leased_job(job_id, token)
        if job is None:
            return False
        started_at = None if job.attempt == 1 else job.started_at
        self._transitions.requeue(job, "handed_back", attempt=job.attempt - 1, started_at=started_at)
        return True

    def runner_stopped(self, job_id: str) -> None:
        """Let the files of a cancelled job be deleted: its runner has stopped and writes no more."""
        job = self._book.unsettled(job_id)
        if job is not None and job.state is JobState.CANCELLED and job.tidy_at is not None:
            self.ended.schedule(self._book.save(job.with_(tidy_at=min(job.tidy_at, self._wall()))))

    def begin_leases(self) -> None:
        """Give each running job a whole lease.

        Called when runners begin to be heard: reading a slow store may take longer than a lease.
        """
        lease_end = self._steady() + self._settings.lease_seconds
        for job in list(self._book.running):
            self._book.remember(job.with_(lease_expires_at=lease_end))

    def holds_lease(self, job_id: str, token: str) -> bool:
        """Tell whether a runner may still work on a job."""
        return self._leased_job(job_id, token) is not None

    # For operators

    def waiting(self, client: str | None, limit: int) -> list[JobView]:
        """Return the first queued jobs of a client (None: of all clients), in queue order."""
        found = (waiting.job_id for waiting in self._queue if client in {None, waiting.client})
        return [view for job_id in islice(found, limit) if (view := self.view(job_id))]

    def requeue(self, job_id: str) -> JobView | None:
        """Requeue a job that has failed, or that runs: then its runner loses the lease.

        A queued job stays as it is. None if its record is not in memory. Raises RequeueError.
        """
        job = self._known(job_id)
        if job is not None and job.state is JobState.RUNNING:
            self._transitions.requeue(job, "requeued", forgiven=job.attempt)
        elif job is not None and job.state is not JobState.QUEUED:
            last = self._queue.last_of(job.client, job.place.rank)
            self._transitions.requeue_failed(job, self._fair.place_of_requeued(job, last))
        return self.view(job_id)

    # For the tracker's own periodic tasks

    def requeue_expired(self) -> list[str]:
        """Requeue jobs whose lease has expired, or fail them after their last attempt; return their ids."""
        now = self._steady()
        expired = [job for job in self._book.running if (job.lease_expires_at or 0) <= now]
        for job in expired:
            error = TOO_MANY_ATTEMPTS.format(attempts=job.counted_attempts)
            self._transitions.fail(job, "lost", error, retryable=True)
        return [job.job_id for job in expired]

    def fail_late(self) -> list[str]:
        """Fail queued jobs that have not begun by their deadline; return their ids.

        The caller does this before each `claim`, so that no job begins late.
        """
        failed = []
        for job_id in self._starting.passed():
            self._starting.forget(job_id)
            job = self._book.unsettled(job_id)
            if job is None or job.state is not JobState.QUEUED or job.start_by is None:
                continue
            self._arrivals.withdraw(job)
            error = NOT_BEGUN.format(seconds=job.start_by - job.created_at)
            self._transitions.end(job, JobState.FAILED, "not_begun", error=error, tidy_at=self._wall())
            failed.append(job_id)
        return failed

    def demand(self, defaults: Collection[str] = ()) -> dict[str, dict[str, float]]:
        """Return work by stage: submitted since this tracker started, withdrawn of that, waiting, running.

        The work of checkpoints that are not among `defaults` stands apart, under `stage/checkpoint`.
        """
        return demand(self._arrivals, self._queue.work, self._book.running, defaults)

    def load(self) -> Load:
        """Return the present load."""
        oldest = min((job.ages_from for job in self._book.queued), default=None)
        return Load(
            waiting=len(self._queue),
            oldest_seconds=0.0 if oldest is None else max(0.0, self._cautious_now() - oldest),
            running=len(self._book.running),
            stored_bytes=self.ended.stored_bytes,
        )

    def usage(self, client: str, stored: Mapping[UsageKey, Usage]) -> ClientUsage:
        """Return what a client used, from the figures of the store."""
        days = {day: used for (day, _), used in stored.items() if any(used.amounts)}
        return self._admission.usage(client, days)

    def stats(self) -> TrackerStats:
        """Return job counts and mean durations."""
        return TrackerStats(
            jobs={state.value: self._book.counts[state] for state in JobState},
            queue_limit=self._settings.queue_limit,
            avg_job_seconds=self._speeds.average_job_seconds,
            mode=self.mode,
            stage_seconds=self._speeds.average_stage_seconds(),
        )

    # Helpers

    def _restore(self, store: JobStore) -> None:
        for job in reversed(store.page(None, JobState.SUCCEEDED, sys.maxsize, HISTORY_JOBS)):
            self._fair.restore(job)
            self._forecast.learned(job, self._settings.timeout_seconds)
        for job in sorted(store.unsettled_jobs(), key=lambda job: job.place.sequence):
            self._fair.restore(job)
            self._admission.restored(job)
            if job.state is JobState.RUNNING:
                job = job.with_(best_progress=not_below(job.best_progress))
                self._forecast.resumed(job, self._steady())
                self._batches.entered(job)
            self._book.remember(job)
            if job.state is JobState.QUEUED:
                self._transitions.enqueue(job)
                self._starting.watch(job)
        self.begin_leases()

    def _known(self, job_id: str) -> Job | None:
        """Return a job that clients may know."""
        job = self._book.get(job_id)
        return None if job is None or job.purged else job

    def _accepted(self, job: Job, client: Client) -> Accepted:
        quotas = self._admission.quotas(client, self._steady())
        return Accepted(job.job_id, job.state, self._position(job), quotas)

    def _position(self, job: Job) -> int:
        return self._queue.position(job.place) if job.state is JobState.QUEUED else 0

    def _leased_job(self, job_id: str, token: str) -> Job | None:
        job = self._book.unsettled(job_id)
        if job is None or job.state is not JobState.RUNNING or job.lease_token != token:
            return None
        return job

    def _ended_by(self, job_id: str, token: str, state: JobState) -> bool:
        job = self._book.get(job_id)
        return job is not None and job.state is state and job.lease_token == token
