"""A model of jobs beside the tracker, for tests of the rules that always hold."""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from configs.domain import Task
from deployments.common.messages import STAGES, Metadata
from serve_app.jobs.forecast.demand import work_to_do
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Checkpoint, Job, JobState, JobView, NewJob
from serve_app.jobs.usage import Usage
from serve_app.request.song_plan import SongPlan
from serve_app.request.work import Work
from tests.job_tracking import WORK, Clock, Tracking

CLIENTS = ("ann", "bob", "cy")
QUEUE_LIMIT, CLIENT_JOBS, MAX_ATTEMPTS, LEASE_SECONDS = 8, 4, 3, 30.0
CLIENT_RATE, CLIENT_BURST = 0.2, 6
CHECKPOINT = Checkpoint(SongPlan(Task.TEXT2MUSIC, Metadata(), (20.0,), None, lm_answered=True), codes=((1,),))


@dataclass
class Expected:
    """The model's knowledge of a job."""

    new: NewJob
    state: JobState = JobState.QUEUED
    token: str | None = None
    attempt: int = 0
    forgiven: int = 0
    submitted_at: float = 0.0
    """Time on the steady clock."""
    came_back: bool = False
    """Whether the job was requeued after its end, at its old place.

    Virtual time may have restarted since, so later jobs may be ahead of it.
    """
    expires_at: float = 0.0
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    seen_progress: float = 0.0
    """The progress at the last poll."""
    start_by: float | None = None
    """Time of the wall clock by which it must have begun; None if it may wait, and once it has begun."""
    start_within: float = 0.0
    """Seconds from the submit to that time."""
    late_at: float = math.inf
    """Time on the steady clock at which that time has passed."""


class ModelledTracker(RuleBasedStateMachine):
    """The tracker and the model, which are compared after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Expected] = {}
        self.purged: dict[str, Expected] = {}
        """Jobs that clients do not see any more, whose records are still there."""
        self.tokens: list[tuple[str, str]] = []
        """Every lease that ever existed, as (job id, token)."""
        self.mode = Mode.OPEN
        self.batches: dict[str, set[str]] = {}
        """The jobs of each batch about whose end somebody is told."""
        self.called_back: set[str] = set()
        """Batches about which somebody was told."""
        self.seen: dict[str, JobState] = {}
        """The state of each job after the last step."""
        self.ends: Counter[JobState] = Counter()
        """Ends of jobs, less those that a requeue took back."""
        steady = Clock()
        steady.now = 1000.0
        self.tracking = Tracking(
            steady=steady,
            queue_limit=QUEUE_LIMIT,
            client_jobs=CLIENT_JOBS,
            lease_seconds=LEASE_SECONDS,
            max_attempts=MAX_ATTEMPTS,
            client_rate=CLIENT_RATE,
            client_burst=CLIENT_BURST,
        )
        self.tokens_left: dict[str, float] = {}
        """Submits that each client may make at once. For clients without an entry it is CLIENT_BURST."""
        self.demanded = Work()
        """The work of all jobs since the start of the tracker, without the cancelled part."""
        self.came: set[str] = set()
        """Jobs that were submitted since the start of the tracker."""

    @initialize(finished=st.integers(0, 3))
    def history(self, finished: int) -> None:
        """Run some jobs first. Their records are deleted, but their speed stays known."""
        for seconds in range(finished):
            self.tracking.submit()
            self.demanded += WORK
            job = self.tracking.run_next(1.0 + seconds)
            self.tracking.tidied(job)
            self.tracking.flush()
            self.tracking.tracker.ended.records_expired([self.record(job)])
        self.ends[JobState.SUCCEEDED] += finished

    # Helpers

    def record(self, job_id: str) -> Job:
        job = self.tracking.record(job_id)
        assert job is not None
        return job

    def work_to_do(self, job_id: str) -> Work:
        """Return the work that a job still needs. Its stage is written only now and then."""
        return work_to_do(replace(self.record(job_id), stage=self.view(job_id).stage))

    def view(self, job_id: str) -> JobView:
        view = self.tracking.view(job_id)
        assert view is not None
        return view

    def in_state(self, *states: JobState) -> list[str]:
        return [job_id for job_id, job in self.jobs.items() if job.state in states]

    def queue(self) -> list[str]:
        """Return the waiting jobs in the order of their reported positions."""
        return sorted(self.in_state(JobState.QUEUED), key=lambda job_id: self.view(job_id).queue_position)

    def holder(self, choice: int) -> tuple[str, str, bool]:
        """Return a lease (0 is the newest), and whether it is still held."""
        job_id, token = self.tokens[-1 - choice % len(self.tokens)]
        job = self.jobs.get(job_id)
        return job_id, token, job is not None and job.state is JobState.RUNNING and job.token == token

    def submitted(self, new: NewJob) -> None:
        """Record that a job was accepted."""
        name = new.client.name
        within = new.spec.request.start_within_seconds
        start_by = None if within is None else self.tracking.clock.now + within
        self.jobs[new.job_id] = Expected(new, start_by=start_by)
        if start_by is not None:
            self.jobs[new.job_id].start_within = start_by - self.tracking.clock.now
        self.see_deadlines([new.job_id])
        self.tokens_left[name] = self.tokens_left.get(name, CLIENT_BURST) - 1
        self.demanded += new.work
        self.came.add(new.job_id)

    def is_too_fast(self, client: str) -> bool:
        """Return whether a client has to wait before its next submit, exact up to the rounding of times."""
        return self.tokens_left.get(client, CLIENT_BURST) < 1 - 0.5e-3 * CLIENT_RATE

    def passed(self, seconds: float) -> None:
        """Record that time has passed for the clients' tokens."""
        for client, left in self.tokens_left.items():
            self.tokens_left[client] = min(CLIENT_BURST, left + seconds * CLIENT_RATE)

    def see_deadlines(self, job_ids: Collection[str]) -> None:
        """Compute the deadlines of jobs as a tracker does that sees them for the first time."""
        for job_id in job_ids:
            job = self.jobs[job_id]
            if job.start_by is not None:
                pause = min(max(job.start_by - self.tracking.clock.now, 0.0), job.start_within)
                job.late_at = self.tracking.steady.now + pause

    def check_deadlines(self) -> None:
        """Fail the jobs that have not begun by their deadline, as the actor does before each claim."""
        now = self.tracking.steady.now
        late = {
            job_id
            for job_id in self.in_state(JobState.QUEUED)
            if self.jobs[job_id].start_by is not None and self.jobs[job_id].late_at <= now
        }
        for job_id in late & self.came:
            self.demanded -= self.work_to_do(job_id)
        assert set(self.tracking.tracker.fail_late()) == late
        for job_id in late:
            self.jobs[job_id].state, self.jobs[job_id].start_by = JobState.FAILED, None

    def requeued(self, job: Expected, attempt: int) -> None:
        job.state, job.token, job.attempt = JobState.QUEUED, None, attempt

    # Rules that always hold

    @invariant()
    def positions_have_no_holes_and_follow_priority_and_submission(self) -> None:
        queue = self.queue()
        positions = [self.view(job_id).queue_position for job_id in queue]
        assert positions == list(range(1, len(queue) + 1))
        priorities = [self.jobs[job_id].new.priority for job_id in queue]
        assert priorities == sorted(priorities, reverse=True)
        order = list(self.jobs)
        for client in CLIENTS:
            for priority in set(priorities):
                mine = [
                    job_id
                    for job_id in queue
                    if (self.jobs[job_id].new.client.name, self.jobs[job_id].new.priority)
                    == (client, priority)
                    and not self.jobs[job_id].came_back
                ]
                assert mine == sorted(mine, key=order.index)

    @invariant()
    def every_job_is_in_the_state_it_should_be_in(self) -> None:
        for job_id, job in self.jobs.items():
            view = self.view(job_id)
            assert (view.state, view.attempt) == (job.state, job.attempt)
            if job.state.is_final:
                assert view.eta_seconds is None
                assert view.finished_at is not None
            else:
                assert view.eta_seconds is not None
                assert math.isfinite(view.eta_seconds)
                assert view.eta_seconds >= 0

    @invariant()
    def ends_are_noted(self) -> None:
        """Note what has ended in this step, for `every_end_was_counted_once`."""
        for job_id, job in (self.jobs | self.purged).items():
            before = self.seen.get(job_id, JobState.QUEUED)
            if before.is_final and before is not job.state:
                self.ends[before] -= 1
            if job.state.is_final and before is not job.state:
                self.ends[job.state] += 1
            self.seen[job_id] = job.state

    def every_end_was_counted_once(self) -> None:
        """Compare the usage in the store with all ends so far, when everything is written."""
        used = Usage.total(self.tracking.store.usage(None, "0000", "9999-99").values())
        told = (used.succeeded, used.failed, used.cancelled)
        states = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
        assert told == tuple(self.ends[state] for state in states)

    @invariant()
    def progress_never_falls(self) -> None:
        for job_id, job in self.jobs.items():
            progress = self.view(job_id).progress
            assert job.seen_progress <= progress <= 1
            job.seen_progress = progress

    @invariant()
    def a_running_job_has_one_owner(self) -> None:
        for job_id, token in self.tokens:
            job = self.jobs.get(job_id)
            owner = job is not None and job.state is JobState.RUNNING and job.token == token
            assert self.tracking.tracker.holds_lease(job_id, token) is owner

    @invariant()
    def the_fleet_is_scaled_by_the_work_that_was_not_cancelled(self) -> None:
        demand = self.tracking.tracker.demand()
        for stage, units in zip(STAGES, self.demanded.units, strict=True):
            if stage in {"denoising", "decoding"}:
                told = demand["submitted"][stage] - demand["withdrawn"][stage]
                assert math.isclose(told, units, rel_tol=1e-9, abs_tol=1e-6)

    @invariant()
    def nothing_is_kept_of_what_ended_jobs_asked_for(self) -> None:
        for job_id, job in self.jobs.items():
            spec = self.record(job_id).spec
            may_run = not job.state.is_final or job.state is JobState.FAILED
            assert spec.request.caption == (job.new.spec.request.caption if may_run else "")
        for job_id in self.purged:
            record = self.record(job_id)
            assert (record.purged, record.spec.request.caption, record.result) == (True, "", None)
            assert (record.error, record.files) == (None, ())
            assert record.callback is None or record.spec.request.callback_url

    @invariant()
    def counts_and_bytes_are_those_of_a_recount(self) -> None:
        counts = Counter(job.state.value for job in [*self.jobs.values(), *self.purged.values()])
        told = self.tracking.tracker.stats().jobs
        assert {state: count for state, count in told.items() if count} == counts
        assert self.tracking.tracker.ended.stored_bytes == sum(
            self.record(job_id).stored_bytes for job_id in [*self.jobs, *self.purged]
        )
