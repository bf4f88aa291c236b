"""The rules that must hold in every schedule, checked whenever something happens that could break them.

A broken rule is noted as a `Violation`, and the first one ends the run. A record is durable once the store
has synced it; clients and runners know what answers told them.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from serve_app.jobs.batches import BatchAccepted, sequences_of
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.model import Job, JobState, JobView, NewJob
from serve_app.jobs.observer import JobObserver, Outcome
from serve_app.jobs.queue.fairness import cost
from serve_app.jobs.queue.starting import NOT_BEGUN
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.usage import Usage
from tests.simulation.loop import SimulatedLoop
from tests.simulation.schedule import CLIENTS, Request, Schedule

LEASE_SECONDS = 6.0
CLOCK_DRIFT = 0.02
"""Steady clocks of processes run faster or slower by up to this share."""


@dataclass(frozen=True)
class Violation:
    """A rule that was broken: its name, what was seen, and when in virtual seconds."""

    rule: str
    found: str
    at: float


@dataclass
class _Seen:
    """The newest state of a job that a client has seen, and the best progress."""

    view: JobView
    progress: float = 0.0


@dataclass
class Referee:
    """Knows what everybody was told, and what is durable."""

    schedule: Schedule
    loop: SimulatedLoop
    violation: Violation | None = None
    durable: dict[str, Job] = field(default_factory=dict)
    """Synced records."""
    accepted: dict[str, Request] = field(default_factory=dict)
    """Jobs of which a client was told that they were accepted."""
    by_key: dict[tuple[str, str], str] = field(default_factory=dict)
    """The job, or the first job of the batch, that each client was told for a key."""
    asked_at: dict[str, float] = field(default_factory=dict)
    """When the submit of each job was sent."""
    durable_at: dict[str, float] = field(default_factory=dict)
    """When each job first became durable."""
    purging: set[str] = field(default_factory=set)
    """Jobs that a client has asked to purge."""
    purged_at: dict[str, float] = field(default_factory=dict)
    """When a client was told that a job is purged."""
    ended_at: dict[str, float] = field(default_factory=dict)
    """When each job got its durable final state, in the memory of the tracker that wrote it."""
    ends_in_memory: dict[tuple[str, float | None], float] = field(default_factory=dict)
    """When a job ended in the memory of a tracker, by its id and the time in its record.

    Two trackers may both end a job, of which one writes it.
    """
    may_go_back: set[str] = field(default_factory=set)
    """Jobs whose changes were lost with a tracker whose store took no writes: the contract allows that."""
    renewed: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the runner process asked for the claim or heartbeat that was answered last, by process and job."""
    published: dict[str, str] = field(default_factory=dict)
    """Job id by URI of a song in a durable result."""
    expired: set[str] = field(default_factory=set)
    """Published songs that were deleted when their time was over."""
    ends: dict[str, str] = field(default_factory=dict)
    """The last durable final state of each job, also of those whose record was deleted."""
    last_end: dict[str, str] = field(default_factory=dict)
    """The last final state of each job in the memory of any tracker."""
    delivered: dict[str, str] = field(default_factory=dict)
    """State by job whose callback was delivered."""
    batches_told: set[str] = field(default_factory=set)
    """Batches whose callback was delivered."""
    given_up: int = 0
    missed_deadlines: int = 0
    """Jobs that failed because they had not begun in time."""
    charged: set[str] = field(default_factory=set)
    """Jobs that were claimed."""
    with_gaps: set[str] = field(default_factory=set)
    """Clients that cancelled a queued job: its place stays empty, so the client gets less for a while."""
    largest: dict[str, float] = field(default_factory=dict)
    """The largest job of each client that was claimed, relative to the client's weight."""
    _unknown_at: dict[str, float] = field(default_factory=dict)
    """When a client was first told that there is no such job."""
    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict)
    _reads: dict[str, list[tuple[float, JobState, float]]] = field(default_factory=dict)
    """When each answer about a job came, and the state and progress that it told."""

    def fail(self, rule: str, found: str) -> None:
        """Note a broken rule, unless another was broken before."""
        self.violation = self.violation or Violation(rule, found, round(self.now, 6))
        self.loop.end_soon()

    @property
    def now(self) -> float:
        return self.loop.time()

    # Clients

    def will_be_submitted(self, news: Collection[NewJob]) -> None:
        """A client sends a submit of these jobs."""
        self.asked_at |= dict.fromkeys((new.job_id for new in news), self.now)

    def was_accepted(
        self, request: Request, news: list[NewJob], accepted: BatchAccepted, asked_at: float
    ) -> None:
        """A client has got the answer to its submit, which it sent at a time."""
        job_ids = [job.job_id for job in accepted.jobs]
        if request.key is not None:
            self._was_accepted_under_key(request.client, request.key, job_ids[0], asked_at)
        elif job_ids != [new.job_id for new in news]:
            self.fail("a request without a key repeats no other", f"{news[0].job_id}: {job_ids}")
        for job_id in job_ids:
            self.accepted.setdefault(job_id, request)
            if job_id not in self.durable and not self._may_be_deleted(job_id):
                self.fail("an accepted job is durable", job_id)

    def _was_accepted_under_key(self, client: str, key: str, job_id: str, asked_at: float) -> None:
        """Compare with what was answered before: a key names one job until that is purged."""
        if self._was_purged_before(job_id, asked_at):
            self.fail("purged jobs are forgotten", f"{job_id} is the answer for the key {key}")
        known = self.by_key.get((client, key), job_id)
        if known != job_id and not {known, job_id} & self.purging:
            self.fail("one job for each idempotency key", f"{key}: {known}, {job_id}")
        if known == job_id or known in self.purging:
            self.by_key[client, key] = job_id

    def was_seen(self, client: str, job_id: str, view: JobView | None) -> None:
        """A client has got the answer to a poll; it sends the next one afterwards."""
        if view is None:
            if not self._may_be_deleted(job_id):
                self.fail("an accepted job is known", job_id)
            return
        seen = self._seen.setdefault((client, job_id), _Seen(view))
        before, seen.view = seen.view, view
        if job_id in self.may_go_back:
            self._seen.pop((client, job_id))
            return
        if before.state.is_final and view.state is not before.state:
            self.fail("reads never go back", f"{job_id}: {before.state}, then {view.state}")
        if view.progress < seen.progress - 1e-9:
            self.fail("progress never falls", f"{job_id}: {seen.progress}, then {view.progress}")
        seen.progress = max(seen.progress, view.progress)
        if (view.state is JobState.QUEUED) != (view.queue_position >= 1):
            self.fail("queued jobs have a position", f"{job_id}: {view.state} at {view.queue_position}")
        if (view.eta_seconds is None) != view.state.is_final:
            self.fail("open jobs have an ETA", f"{job_id}: {view.state}, {view.eta_seconds}")

    def was_read(self, job_id: str, asked_at: float, view: JobView | None) -> None:
        """A client has got an answer about a job that it asked for at a time, from any process of the API.

        Two trackers at once are left out: the first does not know yet that the other one has the store.
        """
        split = any(fault.kind == "split" for fault in self.schedule.faults)
        if view is None:
            self._unknown_at.setdefault(job_id, self.now)
            return
        if not split and asked_at > self._unknown_at.get(job_id, asked_at):
            self.fail("deleted jobs stay unknown", f"{job_id}: {view.state}")
        if self._was_purged_before(job_id, asked_at):
            self.fail("purged jobs are forgotten", f"{job_id}: {view.state}")
        if job_id in self.may_go_back:
            return
        if split:
            return
        reads = self._reads.setdefault(job_id, [])
        for answered_at, state, progress in reads:
            if answered_at >= asked_at:
                continue
            if state.is_final and view.state is not state:
                self.fail("no process answers with an older state", f"{job_id}: {state}, then {view.state}")
            if view.progress < progress - 1e-9:
                found = f"{job_id}: {progress}, then {view.progress}"
                self.fail("no process answers with an older state", found)
        reads.append((self.now, view.state, view.progress))

    def will_be_purged(self, job_id: str) -> None:
        """A client is about to ask for a purge."""
        self.purging.add(job_id)

    def was_purged(self, job_id: str) -> None:
        """A client was told that a job is purged."""
        self.purged_at.setdefault(job_id, self.now)
        left = self.durable.get(job_id)
        if left is not None and not self._is_without_content(left):
            self.fail("an answered purge is durable", f"{job_id}: {left.state}")

    def _was_purged_before(self, job_id: str, asked_at: float) -> bool:
        """Tell whether a client knew of a job's purge when it asked. Two trackers at once are left out."""
        split = any(fault.kind == "split" for fault in self.schedule.faults)
        return not split and asked_at > self.purged_at.get(job_id, asked_at)

    @staticmethod
    def _is_without_content(job: Job) -> bool:
        request = job.spec.request
        words = request.caption or request.lyrics or job.spec.source
        return job.purged and not (words or job.result or job.files or job.checkpoint.plan)

    def batch_was_called_back(self, batch_id: str) -> None:
        """A receiver was told that a batch has ended."""
        for job in self.durable.values():
            if job.batch is not None and job.batch.batch_id == batch_id and not job.state.is_final:
                self.fail("only durable ends are called back", f"{job.job_id} of {batch_id}: {job.state}")
        self.batches_told.add(batch_id)

    def was_called_back(self, job_id: str, state: str) -> None:
        """A receiver has got a callback."""
        job = self.durable.get(job_id)
        if job is None:
            if not self._may_be_deleted(job_id):
                self.fail("only durable ends are called back", f"{job_id}: no record, told {state}")
        elif job.state != state:
            self.fail("only durable ends are called back", f"{job_id}: {job.state}, told {state}")
        if self.delivered.setdefault(job_id, state) != state:
            self.fail("callbacks tell one end", f"{job_id}: {self.delivered[job_id]}, then {state}")

    # Runners

    def was_renewed(self, process: str, job_id: str, asked_at: float) -> None:
        """A runner was told that it has the lease."""
        self.renewed[process, job_id] = asked_at

    def works(self, process: str, job_id: str, stopped_until: float) -> None:
        """A model works for a runner, which went on after it was stopped at a time (0: it never was)."""
        last = max(self.renewed.get((process, job_id), 0.0), stopped_until - LEASE_SECONDS)
        if self.now - last > LEASE_SECONDS + 2.5:  # an answer may come up to a second after the lease ended
            self.fail("runners stop with their lease", f"{process}, {job_id}: {self.now - last:.1f} s")

    # The store and the storage

    def became_durable(self, changes: dict[str, Job | None], files: dict[str, str]) -> None:
        """The store has synced a write; `files` are those in the storage."""
        self._batches_are_whole(changes)
        for job_id, job in changes.items():
            before = self.durable.get(job_id)
            if job is None:
                self.durable.pop(job_id, None)
                self._was_deleted(job_id, before)
                continue
            self.durable[job_id] = job
            self.durable_at.setdefault(job_id, self.now)
            if job.state.is_final:
                self.ends[job_id] = job.state.value
                self.ended_at[job_id] = self.ends_in_memory[job_id, job.finished_at]
            if before is not None:
                self._changed(before, job)
            if job.state is JobState.SUCCEEDED:
                for uri in job.files:
                    self.published[uri] = job_id
                    if uri not in files and uri not in self.expired:
                        self.fail("published songs exist", f"{uri} of a result that became durable")
            if job.result is None and job.state is JobState.SUCCEEDED and not job.purged:
                self.fail("succeeded jobs have a result", job_id)

    def _batches_are_whole(self, changes: dict[str, Job | None]) -> None:
        """Check that the jobs of a batch become durable together."""
        new = Counter(
            job.batch.batch_id
            for job in changes.values()
            if job is not None and job.batch is not None and job.job_id not in self.durable_at
        )
        for batch_id, count in new.items():
            _, wanted = sequences_of(batch_id) or (0, 0)
            if count != wanted:
                self.fail("a batch is stored as a whole", f"{batch_id}: {count} of {wanted} jobs")

    def _changed(self, before: Job, job: Job) -> None:
        job_id = job.job_id
        if before.purged and not job.purged:
            self.fail("purged jobs are forgotten", f"{job_id} has content again")
        if before.state.is_final and (
            job.state is not before.state
            or job.finished_at != before.finished_at
            or (job.result != before.result and not job.purged)
            or not set(job.files) <= set(before.files)
        ):
            self.fail("jobs end once", f"{job_id}: {before.state}, then {job.state}")
        if (
            job.attempt < before.attempt
            and job.state is not JobState.QUEUED
            and before.attempt > 1 + job.attempt
        ):
            self.fail("attempts count up", f"{job_id}: {before.attempt}, then {job.attempt}")
        if (job.client, job.place.sequence) != (before.client, before.place.sequence):
            self.fail("jobs keep their client and number", job_id)

    def _was_deleted(self, job_id: str, before: Job | None) -> None:
        if before is None:
            return
        if job_id in self.purging and not before.state.is_final:
            self.ends[job_id] = self.last_end[job_id]  # It ended and was purged before either was written.
            return
        if job_id not in self.accepted:
            return
        if not before.state.is_final or not self._may_be_deleted(job_id):
            self.fail("accepted jobs are kept", f"{job_id} was deleted when {before.state}")

    def _may_be_deleted(self, job_id: str) -> bool:
        if job_id in self.purging:
            return True
        ended = self.ended_at.get(job_id)
        return ended is not None and self.now - ended >= 2 * self.schedule.keeps_seconds - 3

    def will_be_deleted(self, uri: str) -> None:
        """The storage deletes a file."""
        job_id = uri.split("/")[3]
        if owner := self.published.get(uri):
            age = self.now - self.ended_at.get(owner, self.now)
            record = self.durable.get(owner)
            is_purged = owner in self.purging and (record is None or record.purged)
            if age < self.schedule.keeps_seconds - 3 and not is_purged:
                self.fail("published songs exist", f"{uri} was deleted {age:.1f} s after the end")
            self.expired.add(uri)
        job = self.durable.get(job_id)
        is_recording = uri.endswith(("/source", "/reference"))
        if is_recording and job is not None and not job.state.is_final:
            self.fail("recordings are kept until the end is durable", f"{uri}: {job.state}")

    def names_expired_songs(self) -> bool:
        """Tell whether a durable record still names songs that were deleted when their time was over.

        A tracker deletes them before it writes that. If it dies between the two or has lost the store, the
        next sweep writes it.
        """
        return any(uri in self.expired for job in self.durable.values() for uri in job.files)

    def began(self, job: Job) -> None:
        """A runner has got a job whose attempts have not begun before."""
        within = job.spec.request.start_within_seconds
        if within is None or self._clock_of_tracker_is_set:
            return
        waited = self.now - self.durable_at.get(job.job_id, self.now)
        if waited > within * (1 + CLOCK_DRIFT) + 0.1:
            self.fail("jobs begin by their deadline", f"{job.job_id}: after {waited:.2f} of {within} s")

    def has_failed(self, job: Job) -> None:
        """A job has failed in the memory of a tracker."""
        within = job.spec.request.start_within_seconds
        if not (job.error or "").startswith(NOT_BEGUN.partition("{")[0]):
            return
        self.missed_deadlines += 1
        if self._clock_of_tracker_is_set:
            return
        waited = self.now - self.asked_at[job.job_id]
        if within is None or waited < within * (1 - CLOCK_DRIFT):
            self.fail("jobs may wait until their deadline", f"{job.job_id}: {waited:.2f} of {within} s")

    @property
    def _clock_of_tracker_is_set(self) -> bool:
        return any(fault.kind == "clock is set" for fault in self.schedule.faults)

    def missed(self, job_id: str, uri: str) -> None:
        """A model did not find a recording.

        It may be gone if the job has ended: a process that was stopped can go on with an attempt that it has
        lost meanwhile.
        """
        job = self.durable.get(job_id)
        if job is not None and not job.state.is_final:
            self.fail("recordings are there for their job", uri)

    def may_lose_unwritten(self, tracker: DurableTracker) -> None:
        """A tracker's process has died, or another one takes its place.

        Clients may see older states if its store took no writes, or hung.
        """
        if tracker._opened is not None and (tracker._store_hangs or tracker._opened[1].problem is not None):
            self.may_go_back |= tracker._opened[1].unwritten.keys()

    def began_anew(self, journal: Journal) -> None:
        """A tracker reads the store again, because another one has written to it meanwhile.

        What it had only in memory is lost, and clients may have seen that while the store took no writes.
        """
        self.may_go_back |= journal.unwritten.keys()

    # The tracker

    def audit(self, tracker: DurableTracker) -> None:
        """Compare the parts of a tracker with each other."""
        if tracker._opened is None:
            return
        core, _ = tracker._opened
        book, queue = core._book, core._queue
        queued = sorted(book.queued, key=lambda job: job.place)
        order = [one.job_id for one in queue]
        if [job.job_id for job in queued] != order:
            self.fail("the queue holds the queued jobs in order", f"{order}, {[job.place for job in queued]}")
        positions = [queue.position(job.place) for job in queued]
        if positions != list(range(1, len(queued) + 1)):
            self.fail("positions are 1 to n", str(positions))
        running = {job.job_id for job in book.running}
        if core._forecast._runs.keys() != running:
            self.fail("the forecast knows the running jobs", f"{set(core._forecast._runs)}, {running}")
        if (book.counts[JobState.QUEUED], book.counts[JobState.RUNNING]) != (len(queued), len(running)):
            self.fail("counts add up", f"{dict(book.counts)}: {len(queued)} queued, {len(running)} running")
        if min(book.counts.values(), default=0) < 0:
            self.fail("counts add up", str(dict(book.counts)))
        mine: dict[str, int] = {}
        for job in (*book.queued, *book.running):
            mine[job.client] = mine.get(job.client, 0) + 1
        counted = {client: count for client, count in core._admission._jobs.items() if count > 0}
        if counted != mine:
            self.fail("limits count open jobs", f"{counted}, {mine}")

    def audit_usage(self, usage: Collection[Usage]) -> None:
        """Compare what the store has counted with the jobs that ended."""
        ends = Counter(self.ends.values())
        for state in ("succeeded", "failed", "cancelled"):
            counted = sum(getattr(one, state) for one in usage)
            if counted != ends[state]:
                self.fail("usage adds up", f"{counted} {state} are counted, {ends[state]} ended")

    def final_audit(self, tracker: DurableTracker, files: dict[str, str], strays: set[str]) -> None:
        """Compare a tracker at rest with the store and the storage. `strays` have files of lost calls."""
        if tracker._opened is None:
            self.fail("the tracker is open at the end", "")
            return
        core, journal = tracker._opened
        if journal.unwritten:
            self.fail("everything is written in the end", str(list(journal.unwritten)))
        states = Counter(job.state for job in self.durable.values())
        if +core._book.counts != states:
            self.fail("counts add up", f"{dict(core._book.counts)}, {dict(states)}")
        stored = Counter[str]()
        for job in self.durable.values():
            stored[job.client] += job.stored_bytes
        if +core._admission._bytes != +stored:
            self.fail("bytes add up", f"{dict(core._admission._bytes)}, {dict(stored)}")
        for job_id in self.accepted:
            job = self.durable.get(job_id)
            if job is None:
                if not self._may_be_deleted(job_id):
                    self.fail("an accepted job is known", f"{job_id} in the end")
            elif not job.is_settled:
                self.fail("all jobs end after the faults", f"{job_id}: {job.state}")
            elif job.state is JobState.SUCCEEDED and job.files:
                missing = [uri for uri in job.files if uri not in files]
                if missing:
                    self.fail("published songs exist", str(missing))
        for job_id in self.purged_at.keys() & self.durable.keys():
            self.fail("purged jobs are deleted in the end", job_id)
        self._audit_callbacks()
        kept = {uri for job in self.durable.values() for uri in job.files}
        for uri in files:
            job_id = uri.split("/")[3]
            is_known = job_id in self.durable or job_id in self.purged_at
            if uri not in kept and is_known and job_id not in strays:
                self.fail("nothing is left in the storage", uri)

    def _audit_callbacks(self) -> None:
        """See that everybody was told who wanted to be. Callbacks that were given up are not told apart."""
        if self.given_up:
            return
        for job_id, job in self.durable.items():
            if job.spec.request.callback_url and job_id not in self.delivered:
                self.fail("ends are called back", job_id)
            if job.batch and job.batch.callback_url and job.batch.batch_id not in self.batches_told:
                self.fail("ends are called back", job.batch.batch_id)


class Watcher(JobObserver):
    """Hears what one tracker does: an end for each attempt, and the fair share of each client."""

    def __init__(self, referee: Referee) -> None:
        self._referee = referee
        self._charged = referee.charged
        self._largest = referee.largest
        self.tracker: DurableTracker | None = None
        self.heard: dict[str, float] = {}
        """When the tracker last renewed the lease of each job."""
        self._running: set[str] = set()
        self._last_run = ""
        """The job whose attempt ended last."""
        self._queued: dict[str, Job] = {}
        self._shares: dict[tuple[int, str, str], list[float]] = {}
        """Work of two clients, relative to their weights, since both have had queued jobs; by rank."""

    def resumed(self, now: float) -> None:
        """The tracker has read its store."""
        assert self.tracker is not None
        assert self.tracker._opened is not None
        book = self.tracker._opened[0]._book
        self._running = {job.job_id for job in book.running}
        self.heard = dict.fromkeys(self._running, now)
        self._queued = {job.job_id: job for job in book.queued}

    def claimed(self, job: Job) -> None:
        if job.job_id in self._running:
            self._referee.fail("leases have one owner", f"{job.job_id} was claimed while it ran")
        if job.attempt == 1 and job.job_id not in self._referee.charged:
            self._referee.began(job)
        self._running.add(job.job_id)
        self.heard[job.job_id] = self._referee.now
        self._share_out(job)

    def run_ended(self, job: Job, outcome: Outcome, _at: float) -> None:
        if job.job_id not in self._running:
            self._referee.fail("each attempt ends once", f"{job.job_id}: {outcome}")
        self._running.discard(job.job_id)
        self._last_run = job.job_id
        silent = self._referee.now - self.heard.get(job.job_id, 0.0)
        if outcome == "lost" and silent < LEASE_SECONDS * (1 - CLOCK_DRIFT):
            self._referee.fail("renewed leases are kept", f"{job.job_id}: lost after {silent:.2f} s")

    def ended(self, job: Job) -> None:
        referee = self._referee
        if job.state is JobState.CANCELLED and job.job_id != self._last_run:
            referee.with_gaps.add(job.client)
        if job.state is JobState.FAILED:
            referee.has_failed(job)
        referee.last_end[job.job_id] = job.state.value
        referee.ends_in_memory.setdefault((job.job_id, job.finished_at), referee.now)

    def called_back(self, outcome: str) -> None:
        self._referee.given_up += outcome == "given_up"

    def _share_out(self, job: Job) -> None:
        """Check the bound of start-time fair queueing (theorem 1 of Goyal et al.).

        While two clients have queued jobs, what they get in a priority differs at most by the largest job of
        each, relative to the weights. A job that was claimed before has been charged already. A claim after a
        client's job was cancelled does not count: since then perhaps only one of the two had queued jobs.
        """
        assert self.tracker is not None
        assert self.tracker._opened is not None
        rank, client = job.place.rank, job.client
        queued = {one.job_id: one for one in self.tracker._opened[0]._book.queued if one.job_id != job.job_id}
        left_otherwise = {
            one.client
            for one in self._queued.values()
            if one.job_id != job.job_id and one.job_id not in queued
        }
        came_back = {one.client for one in queued.values() if one.job_id in self._charged}
        self._queued = queued
        self._referee.with_gaps |= left_otherwise | came_back
        self._referee.with_gaps &= {one.client for one in queued.values()}
        waiting = {one.client for one in queued.values() if one.place.rank == rank}
        spent = 0.0 if job.job_id in self._charged else job.place.finish - job.place.start
        self._charged.add(job.job_id)
        self._largest[client] = max(self._largest.get(client, 0.0), cost(job.work) / CLIENTS[client], spent)
        for pair in [(rank, a, b) for a in sorted(CLIENTS) for b in sorted(CLIENTS) if a < b]:
            _, a, b = pair
            known = None if {a, b} & left_otherwise else self._shares.get(pair)
            if known is not None and client in {a, b}:
                known[0 if client == a else 1] += spent
                bound = self._largest.get(a, 0.0) + self._largest.get(b, 0.0)
                if abs(known[0] - known[1]) > bound + 1e-6:
                    self._referee.fail("clients get fair shares", f"{a}, {b}: {known}, bound {bound}")
            if not {a, b} <= waiting or {a, b} & self._referee.with_gaps:
                self._shares.pop(pair, None)
            elif known is None:
                self._shares[pair] = [0.0, 0.0]
