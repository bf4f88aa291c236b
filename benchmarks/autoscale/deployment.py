"""Simulates one deployment: replicas that share their speed among jobs, and the queue before them."""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from benchmarks.autoscale.parameters import Speed


@dataclass(eq=False, slots=True)
class Job:
    """One simulated job."""

    submitted_at: float
    work: tuple[float, ...]
    """The units of work that the job asks of each deployment."""
    stage: int = 0


class State(Enum):
    """The state of a replica. A replica holds its GPU in every state but `gone`."""

    STARTING = 1
    RUNNING = 2
    STOPPING = 3
    GONE = 4


@dataclass(eq=False, slots=True)
class Replica:
    """One simulated replica.

    All of its jobs advance at the same speed, so one number describes their progress.
    """

    number: int
    state: State = State.STARTING
    done: float = 0.0
    """Units that a job has received which has been here since the replica began."""
    advanced_at: float = 0.0
    jobs: list[tuple[float, int, Job]] = field(default_factory=list)
    """A heap of (value of `done` at which the job is finished, tie-breaker, job)."""
    changes: int = 0
    """Number of changes so far. A wake-up that was planned before the last change is ignored."""


Wake = Callable[[float, Callable[[float, Replica, int], None], Replica, int], None]
"""A function that schedules a call: it calls a method later with the time, a replica and its `changes`."""


class Deployment:
    """Holds the replicas of one deployment with their jobs, and the jobs that wait."""

    def __init__(self, speed: Speed, wake: Wake, finished: Callable[[float, Job], None], seed: int) -> None:
        self._speed = speed
        self._wake = wake
        self._finished = finished
        self._chance = random.Random(seed)
        self._replicas: list[Replica] = []
        """Replicas that start or run, oldest first."""
        self._open: list[Replica] = []
        """Replicas that run and have room for a job."""
        self._open_at: dict[Replica, int] = {}
        self._queue: deque[Job] = deque()
        self._count = 0
        self.held = 0
        """Number of replicas that hold a GPU."""
        self.running = 0
        self.in_flight = 0
        """Number of jobs here, as Serve's handles count them."""

    @property
    def target(self) -> int:
        return len(self._replicas)

    def begin(self, count: int) -> None:
        """Start with `count` replicas that already run."""
        for _ in range(count):
            self._run(0.0, self._new_replica())

    def enter(self, now: float, job: Job) -> None:
        """Take a job that arrives at this deployment."""
        self.in_flight += 1
        if self._open:
            self._serve(now, self._less_busy(), job)
        else:
            self._queue.append(job)

    def scale(self, now: float, target: int) -> None:
        """Start replicas or stop some. Like Serve, stop those that still start first, then the newest."""
        for _ in range(target - len(self._replicas)):
            self._wake(now + self._speed.cold_start_seconds, self._started, self._new_replica(), 0)
        if target < len(self._replicas):
            starting_last = sorted(self._replicas, key=lambda replica: replica.state is State.STARTING)
            for replica in starting_last[target:]:
                self._stop(replica)

    def lose(self, now: float, share: float) -> list[Job]:
        """Remove the newest running replicas, as when nodes die, and return their jobs.

        Other replicas start in their place, and the simulation brings the jobs back with `retry`.
        """
        running = [replica for replica in self._replicas if replica.state is State.RUNNING]
        lost: list[Job] = []
        for replica in running[len(running) - round(share * len(running)) :]:
            lost += [job for *_, job in replica.jobs]
            replica.jobs.clear()
            self._stop(replica)
            self._wake(now + self._speed.cold_start_seconds, self._started, self._new_replica(), 0)
        self.in_flight -= len(lost)
        return lost

    def retry(self, now: float, job: Job) -> None:
        """Take a lost job back in front of all others."""
        self.in_flight += 1
        self._queue.appendleft(job)
        self._take_from_queue(now)

    def _new_replica(self) -> Replica:
        self._count += 1
        self.held += 1
        replica = Replica(self._count)
        self._replicas.append(replica)
        return replica

    def _started(self, now: float, replica: Replica, _changes: int) -> None:
        if replica.state is State.STARTING:
            self._run(now, replica)

    def _run(self, now: float, replica: Replica) -> None:
        replica.state = State.RUNNING
        self.running += 1
        replica.advanced_at = now
        self._set_open(replica)
        self._take_from_queue(now)

    def _stop(self, replica: Replica) -> None:
        """Give the replica no new jobs. It is gone when its last job leaves."""
        self._replicas.remove(replica)
        self._set_closed(replica)
        self.running -= replica.state is State.RUNNING
        replica.state = State.STOPPING
        self._gone_if_empty(replica)

    def _gone_if_empty(self, replica: Replica) -> None:
        if replica.state is State.STOPPING and not replica.jobs:
            replica.state = State.GONE
            replica.changes += 1
            self.held -= 1

    def _take_from_queue(self, now: float) -> None:
        while self._queue and self._open:
            self._serve(now, self._less_busy(), self._queue.popleft())

    def _less_busy(self) -> Replica:
        """Return the less busy of two random replicas, as Serve's router chooses."""
        one, other = self._chance.choice(self._open), self._chance.choice(self._open)
        return one if len(one.jobs) <= len(other.jobs) else other

    def _serve(self, now: float, replica: Replica, job: Job) -> None:
        self._advance(now, replica)
        self._count += 1
        heapq.heappush(replica.jobs, (replica.done + job.work[job.stage], self._count, job))
        if len(replica.jobs) == self._speed.side_by_side:
            self._set_closed(replica)
        self._plan_wake(now, replica)

    def _advance(self, now: float, replica: Replica) -> None:
        if replica.jobs:
            replica.done += (now - replica.advanced_at) / self._speed.seconds_per_unit(len(replica.jobs))
        replica.advanced_at = now

    def _plan_wake(self, now: float, replica: Replica) -> None:
        replica.changes += 1
        if replica.jobs:
            units = max(0.0, replica.jobs[0][0] - replica.done)
            seconds = units * self._speed.seconds_per_unit(len(replica.jobs))
            self._wake(now + seconds, self._job_done, replica, replica.changes)

    def _job_done(self, now: float, replica: Replica, changes: int) -> None:
        if changes != replica.changes:
            return
        self._advance(now, replica)
        _, _, job = heapq.heappop(replica.jobs)
        self.in_flight -= 1
        if replica.state is State.RUNNING:
            self._set_open(replica)
            self._take_from_queue(now)
        self._gone_if_empty(replica)
        self._plan_wake(now, replica)
        self._finished(now, job)

    def _set_open(self, replica: Replica) -> None:
        if replica not in self._open_at:
            self._open_at[replica] = len(self._open)
            self._open.append(replica)

    def _set_closed(self, replica: Replica) -> None:
        index = self._open_at.pop(replica, None)
        if index is not None:
            last = self._open.pop()
            if last is not replica:
                self._open[index] = last
                self._open_at[last] = index
