"""The rules of the job API, held against a history: what a client was told holds for all later calls.

A call is later than another if it began after the other had ended. Rules that `tests/simulation/referee.py`
checks inside the server have the same names there.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.history.calls import Call, History, Kind, Outcome, Shown, StoreLost

ROUNDING = 1e-9
STAGES = {
    "queued": {"queued"},
    "running": {"planning", "composing", "denoising", "decoding", "encoding"},
    "succeeded": {"done"},
}
"""The stages that go with a status; a failed or cancelled job keeps the one that it ended in."""


def violations(history: History) -> list[str]:
    """Return each rule that is broken, with the calls that show it."""
    jobs = _jobs_of(history)
    found = [broken for call in history.calls for broken in _in_one_answer(call)]
    for job in jobs.values():
        found += _known_until_deleted(job, history.losses)
        found += _ends_once(job)
        found += _never_goes_back(job)
    found += _one_job_for_each_key(history, jobs)
    found += _lists_show_own_jobs(history, jobs)
    found += _every_job_was_asked_for(history, jobs)
    return found


@dataclass(frozen=True)
class _Read:
    """What one call showed of one job; None if the job was unknown."""

    call: Call
    shown: Shown | None

    def __str__(self) -> str:
        seen = f"{self.shown.status} at {self.shown.progress}" if self.shown else "unknown"
        return f"{seen} in {self.call}"

    @property
    def has_ended(self) -> bool:
        return self.shown is not None and self.shown.has_ended

    @property
    def progress(self) -> float:
        """The progress that was shown; 0 if none was."""
        return (self.shown and self.shown.progress) or 0.0


@dataclass
class _Job:
    """All that a history has about one job."""

    job_id: str
    reads: list[_Read] = field(default_factory=list)
    """In the order of their ends."""
    submits: list[Call] = field(default_factory=list)
    """The submits that were answered with this job."""
    purges: list[Call] = field(default_factory=list)
    """The purges that took effect, or may have."""

    def missed(self) -> list[_Read]:
        """Return the reads that did not find the job after a client had been told of it."""
        told_at = min(read.call.end for read in self.reads if read.shown)
        return [read for read in self.reads if read.shown is None and read.call.start > told_at]

    def may_be_gone(self, at: float, losses: Iterable[StoreLost]) -> bool:
        """Tell whether the job may be unknown at a time."""
        return any(purge.start < at for purge in self.purges) or any(
            loss.start < at and all(submit.start <= loss.end for submit in self.submits) for loss in losses
        )


def _jobs_of(history: History) -> dict[str, _Job]:
    """Return the jobs that any answer showed, by id."""
    calls = sorted(history.calls, key=lambda call: call.end)
    jobs: dict[str, _Job] = {}
    owned: dict[str, set[str]] = defaultdict(set)
    for call in calls:
        for shown in call.shown:
            jobs.setdefault(shown.job_id, _Job(shown.job_id))
            if call.kind in {Kind.SUBMIT, Kind.LIST}:
                owned[call.client].add(shown.job_id)
    for call in calls:
        listed = {shown.job_id for shown in call.shown}
        for shown in call.shown:
            jobs[shown.job_id].reads.append(_Read(call, shown))
        if call.kind is Kind.SUBMIT and call.shown:
            jobs[call.shown[0].job_id].submits.append(call)
        if call.kind is Kind.LIST and call.outcome is Outcome.ANSWERED:
            for job_id in sorted(owned[call.client] - listed):
                jobs[job_id].reads.append(_Read(call, None))
        if call.job_id in jobs and call.outcome is Outcome.NOT_FOUND:
            jobs[call.job_id].reads.append(_Read(call, None))
        elif call.job_id in jobs and call.kind is Kind.PURGE:
            jobs[call.job_id].purges.append(call)
    return jobs


def _in_one_answer(call: Call) -> Iterator[str]:
    """Yield where an answer contradicts itself."""
    for shown in call.shown:
        if (shown.status == "queued") != (shown.queue_position >= 1):
            yield f"queued jobs have a position: {shown} in {call}"
        if shown.stage is not None and shown.stage not in STAGES.get(shown.status, {shown.stage}):
            yield f"the stage fits the status: {shown} in {call}"
    if len({shown.job_id for shown in call.shown}) < len(call.shown):
        yield f"a list shows each job once: {call}"
    if call.kind is Kind.CANCEL:
        ends = {Outcome.ANSWERED: {"cancelled"}, Outcome.REFUSED: {"succeeded", "failed"}}
        if not {shown.status for shown in call.shown} <= ends.get(call.outcome, set()):
            yield f"only a job that ended otherwise is not cancelled: {call}"


def _known_until_deleted(job: _Job, losses: list[StoreLost]) -> Iterator[str]:
    """Yield where a job is unknown that was not deleted, and where a deleted one comes back."""
    missed = job.missed()
    for read in missed:
        if not job.may_be_gone(read.call.end, losses):
            yield f"an accepted job is known: {job.job_id} is {read}"
            break
    deletions = [purge for purge in job.purges if purge.outcome is Outcome.ANSWERED]
    deletions += [read.call for read in missed if not _is_during(losses, read.call)]
    gone = min(deletions, key=lambda call: call.end, default=None)
    for read in job.reads:
        if gone and read.shown and read.call.start > gone.end:
            yield f"a deleted job stays unknown: {job.job_id} was gone after {gone}, but {read}"
            break


def _is_during(losses: Iterable[StoreLost], call: Call) -> bool:
    return any(call.start < loss.end and call.end > loss.start for loss in losses)


def _ends_once(job: _Job) -> Iterator[str]:
    """Yield where two calls tell different ends of a job."""
    ends = [(read, read.shown) for read in job.reads if read.shown and read.shown.has_ended]
    for read, shown in ends[1:]:
        first, before = ends[0]
        times = {before.finished_at, shown.finished_at} - {None}
        if shown.status != before.status or len(times) > 1:
            yield f"jobs end once: {job.job_id} is {first}, but {read}"
            break


def _never_goes_back(job: _Job) -> Iterator[str]:
    """Yield where a call shows less of a job than one that ended before it began."""
    earlier = deque(read for read in job.reads if read.shown)
    end: _Read | None = None
    furthest: _Read | None = None
    for read in sorted(job.reads, key=lambda read: read.call.start):
        while earlier and earlier[0].call.end < read.call.start:
            known = earlier.popleft()
            end = known if end is None and known.has_ended else end
            furthest = known if furthest is None or known.progress > furthest.progress else furthest
        if read.shown is None:
            continue
        if end and not read.has_ended:
            yield f"reads never go back: {job.job_id} is {end}, but {read}"
            break
        if furthest and read.shown.progress is not None and read.progress < furthest.progress - ROUNDING:
            yield f"progress never falls: {job.job_id} is {furthest}, but {read}"
            break


def _one_job_for_each_key(history: History, jobs: dict[str, _Job]) -> Iterator[str]:
    """Yield where one client and key got two jobs, though neither job was deleted."""
    submits: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in history.calls:
        if call.kind is Kind.SUBMIT and call.shown and call.key is not None:
            submits[call.client, call.key].append(call)
    for calls in submits.values():
        calls.sort(key=lambda call: call.end)
        for before, after in pairwise(calls):
            both = {before.shown[0].job_id, after.shown[0].job_id}
            if len(both) == 2 and not any(
                jobs[job_id].may_be_gone(after.end, history.losses) for job_id in both
            ):
                yield f"one job for each idempotency key: {before}, but {after}"


def _lists_show_own_jobs(history: History, jobs: dict[str, _Job]) -> Iterator[str]:
    """Yield where a list has the job of another client."""
    for call in history.calls:
        owners = {submit.client for shown in call.shown for submit in jobs[shown.job_id].submits}
        if call.kind is Kind.LIST and not owners <= {call.client}:
            yield f"a list shows the client's own jobs: {call} has those of {owners - {call.client}}"


def _every_job_was_asked_for(history: History, jobs: dict[str, _Job]) -> Iterator[str]:
    """Yield where the lists of a client have more jobs than its submits may have made."""
    submits: dict[str, list[Call]] = defaultdict(list)
    unnamed: dict[str, set[str]] = defaultdict(set)
    for call in history.calls:
        if call.kind is Kind.SUBMIT:
            submits[call.client].append(call)
        elif call.kind is Kind.LIST:
            unnamed[call.client] |= {one.job_id for one in call.shown if not jobs[one.job_id].submits}
    for client, job_ids in unnamed.items():
        most = _jobs_of_unanswered(submits[client], jobs, history.losses)
        most += sum(bool(jobs[job_id].purges) for job_id in job_ids)  # A purge frees a key for another job.
        if len(job_ids) > most:
            yield f"every job was asked for: {client} has {sorted(job_ids)}, of which it may have made {most}"


def _jobs_of_unanswered(submits: list[Call], jobs: dict[str, _Job], losses: list[StoreLost]) -> int:
    """Return how many jobs, of which no answer told, a client's submits may have made at most."""
    named = {call.key: jobs[call.shown[0].job_id] for call in submits if call.shown}
    unanswered = Counter(call.key for call in submits if not call.shown)
    most = 0
    for key, times in unanswered.items():
        if key is None or losses or (key in named and named[key].may_be_gone(math.inf, losses)):
            most += times
        elif key not in named:
            most += 1
    return most
