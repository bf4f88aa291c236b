"""One run of a schedule: all processes, the faults that happen to them, and the end of all work."""

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from functools import cache
from typing import Any

from configs.settings import Settings
from serve_app.execution.lease import answered
from serve_app.execution.runner import Runners
from serve_app.jobs.clocks import Clock
from serve_app.jobs.mode import Mode
from serve_app.jobs.surroundings import Surroundings
from tests.simulation.clients import Reads, Receivers, SimulatedClient
from tests.simulation.cluster import Cluster, Incarnation
from tests.simulation.database import Database, SimulatedStore
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.models import SimulatedModels
from tests.simulation.referee import CLOCK_DRIFT, LEASE_SECONDS, Referee, Violation
from tests.simulation.schedule import HEALED, Fault, Schedule
from tests.simulation.storage import ROOT, SimulatedStorage

EPOCH_SECONDS = 1_700_000_000.0
"""The wall clock at the beginning."""
SECONDS_FOR_EACH_JOB = 60.0
"""Bound of the time after the faults for all to end: three attempts at each job, by one runner."""


@dataclass(frozen=True)
class Outcome:
    """The result of one run."""

    violation: Violation | None
    trace: str
    """A digest of everything that happened."""
    steps: int
    seconds: float
    """Virtual seconds until everything was done."""
    jobs: int
    """Accepted jobs."""
    happened: Counter[str]
    """Faults by what they did."""


@cache
def _settings(loops: int, keeps_seconds: float) -> Settings:
    return Settings(
        jobs={
            "store": "memory",
            "lease_seconds": LEASE_SECONDS,
            "heartbeat_seconds": 1.5,
            "runners": loops,
            "timeout_seconds": 25.0,
            "plan_timeout_seconds": 5.0,
            "queue_limit": 6,
            "client_jobs": 5,
            "client_rate": 1.0,
            "client_burst": 4,
        },
        storage={
            "uri": "simulated",
            "sweep_seconds": 3.0,
            "result_seconds": keeps_seconds,
            "record_seconds": 2 * keeps_seconds,
        },
        webhooks={"max_attempts": 4, "first_retry_seconds": 1.0, "timeout_seconds": 3.0},
    )


class World:
    """Everything of one run."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.settings = _settings(schedule.loops, schedule.keeps_seconds)
        self.loop = SimulatedLoop(self._delays)
        self.loop.on_death = self._dies
        self.referee = Referee(schedule, self.loop)
        self.active: dict[str, Fault] = {}
        """The faults that last at the moment, by kind."""
        self.happened: Counter[str] = Counter()
        self.strays: set[str] = set()
        """Jobs for which a process may write a file although nobody waits for it any more."""
        self.went_on_at: dict[str, float] = {}
        """When each process that was stopped last went on."""
        self.names: dict[str, Process] = {}
        """The present process of each name."""
        self.reads: list[Reads] = []
        """The reads of each process of the API."""
        self._digest = hashlib.blake2b(digest_size=16)
        self._outside = Context()
        self._threads = self.rng_of("threads")
        self._wall_offsets: dict[str, float] = {}
        self._restarts: dict[Process, float] = {}
        self._runners: dict[str, Runners] = {}
        self._is_done = False
        self.database = Database(self)
        self.storage = SimulatedStorage(self)
        self.receivers = Receivers(self)
        self.cluster = Cluster(self)

    # For all parts of the simulation

    def rng_of(self, name: str) -> random.Random:
        """Return the source of chance of one part."""
        return random.Random(f"{name} {self.schedule.seed}")

    def chance(self, kind: str, rng: random.Random) -> bool:
        """Decide whether a fault that lasts at the moment strikes now."""
        fault = self.active.get(kind)
        if fault is None or rng.random() >= fault.amount:
            return False
        self.happened[kind] += 1
        return True

    def note(self, what: str, times: int = 1) -> None:
        """Count what a fault did."""
        if times:
            self.happened[what] += times

    def trace(self, what: str, detail: str) -> None:
        """Add an event to the digest of the run."""
        self._digest.update(f"{self.loop.time()!r} {what} {detail}\n".encode())

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Any:
        """Call a function of the simulation, which belongs to no process."""
        return self.loop.call_later(seconds, callback, *args, context=self._outside)

    def later_in(
        self, process: Process | None, seconds: float, callback: Callable[..., object], *args: Any
    ) -> None:
        """Call a function in a process, unless that has died."""
        context = self._outside if process is None else process.context
        self.loop.call_later(seconds, callback, *args, context=context)

    def new_process(self, name: str) -> Process:
        """Start a process."""
        return Process(name, self.loop)

    def steady_clock_of(self, process: Process) -> Clock:
        """Return the clock of a process that nobody can set, and that runs a little faster or slower."""
        rng = self.rng_of(f"clocks of {process.name}")
        rate, offset = 1 + rng.uniform(-CLOCK_DRIFT, CLOCK_DRIFT) / 2, rng.uniform(0, 1e6)
        now = self.loop.time
        return lambda: offset + now() * rate

    def surroundings(self, process: Process) -> Surroundings:
        """Return what a tracker's process gets from outside."""
        loop = self.loop
        return Surroundings(
            wall=lambda: EPOCH_SECONDS + loop.time() + self._wall_offsets.get("tracker", 0.0),
            steady=self.steady_clock_of(process),
            machine=lambda: 5000.0 + loop.time(),
            open_store=lambda _: SimulatedStore(self.database),
            open_storage=lambda _: self.storage,
            free_bytes=lambda _: 0 if "disk is full" in self.active else 10**12,
            callbacks=self.receivers,
        )

    # The run

    def run(self) -> Outcome:
        """Let everything happen."""
        schedule = self.schedule
        self.cluster.start()
        for number in range(schedule.runners):
            self._start_runners(f"runner {number}")
        left = []
        for client in sorted({request.client for request in schedule.requests}):
            process = self.names[client] = self.new_process(client)
            mine = [request for request in schedule.requests if request.client == client]
            left.append(process.start(SimulatedClient(self, process).run(mine)))
        for fault in schedule.faults:
            self.later(fault.at, self._begin, fault)
        self.later(HEALED, self._heal)
        self._look_whether_done(left)
        limit = HEALED + SECONDS_FOR_EACH_JOB * (1 + len(schedule.requests))
        referee = self.referee
        try:
            done = self.loop.run(lambda: self._is_done or referee.violation is not None, limit)
            if not done:
                referee.fail("all jobs end after the faults", self._unfinished(left))
            for task in left:
                if task.done() and not task.cancelled() and (error := task.exception()):
                    referee.fail("clients get the errors that are promised", repr(error))
            if referee.violation is None and (newest := self.cluster.newest) is not None:
                referee.final_audit(newest.tracker, self.storage.files, self.strays)
                referee.audit_usage(self.database.usage.values())
            self._digest.update(self.loop.digest)
            self.note("deadlines missed", referee.missed_deadlines)
            return Outcome(
                referee.violation,
                self._digest.hexdigest(),
                self.loop.steps,
                referee.now,
                len(referee.accepted),
                Counter(self.happened),
            )
        finally:
            self.loop.close()

    def _start_runners(self, name: str) -> None:
        process = self.names[name] = self.new_process(name)

        async def run() -> None:
            runners = self._runners[name] = Runners(
                self.cluster.client(process),
                SimulatedModels(self, process),
                self.storage,
                self.settings,
                steady=self.loop.time,
            )
            runners.start()

        process.start(run())

    def _look_whether_done(self, clients: list[Any]) -> None:
        """See every two seconds whether nothing is left to do.

        A sweep has something left to do while a record names songs that were deleted.
        """
        newest = self.cluster.newest
        if self.loop.time() > HEALED and newest is not None and all(task.done() for task in clients):
            opened = newest.tracker._opened
            if opened is not None and not self.referee.names_expired_songs():
                book = opened[0]._book
                self._is_done = not (book.queued or book.running or book.ended or opened[1].unwritten)
        if not self._is_done:
            self.later(2.0, self._look_whether_done, clients)

    def _unfinished(self, clients: list[Any]) -> str:
        newest = self.cluster.newest
        if newest is None or newest.tracker._opened is None:
            return "no tracker is open"
        core, journal = newest.tracker._opened
        book = core._book
        open_jobs = [f"{job.job_id} {job.state}" for job in (*book.queued, *book.running, *book.ended)]
        return (
            f"{open_jobs}, unwritten {list(journal.unwritten)}, clients {[task.done() for task in clients]}"
        )

    def _delays(self, executor: object) -> tuple[float, float]:
        """Return the seconds before and after the effect of a blocking call."""
        rng = self._threads
        is_store = isinstance(executor, ThreadPoolExecutor)
        mean = 0.001 if is_store else 0.003
        return rng.expovariate(1 / mean), rng.expovariate(1 / mean)

    # Faults

    def _begin(self, fault: Fault) -> None:
        self.trace("fault", repr(fault))
        self.happened[f"{fault.kind} (begun)"] += 1
        match fault.kind:
            case "crash":
                self._crash_soon(fault)
            case "stop":
                self._stop(fault)
            case "shutdown":
                self._shut_down(fault)
            case "redeploy":
                self.cluster.redeploy()
            case "split":
                self.cluster.split(fault.seconds)
            case "store crashes":
                self.database.crash_soon(fault.seconds)
            case "clock is set":
                self._wall_offsets[fault.target] = self._wall_offsets.get(fault.target, 0.0) + fault.amount
            case "draining":
                self._set_mode(Mode.DRAINING, fault)
            case "paused":
                self._set_mode(Mode.PAUSED, fault)
            case kind:
                self.active[kind] = fault
                self.later(fault.seconds, self._end, fault)

    def _end(self, fault: Fault) -> None:
        if self.active.get(fault.kind) is fault:
            del self.active[fault.kind]

    def _heal(self) -> None:
        """End all faults."""
        self.trace("healed", "")
        self.active.clear()
        self.database.heal()
        for process in [*self.names.values(), *(one.process for one in self.cluster.incarnations)]:
            process.dies_at_step = None
            if process.stopped:
                self._go_on(process)

    def _process(self, target: str) -> Process | None:
        if target == "tracker":
            newest = self.cluster.newest
            return None if newest is None else newest.process
        return self.names.get(target)

    def _crash_soon(self, fault: Fault) -> None:
        """Let a process die between two of its next steps."""
        process = self._process(fault.target)
        if process is not None and process.alive:
            process.dies_at_step = process.steps + int(fault.amount)
            self._restarts[process] = fault.seconds

    def _dies(self, process: Process) -> None:
        self.happened["crashes"] += 1
        seconds = self._restarts.pop(process, 1.0)
        incarnation = self._incarnation(process)
        if incarnation is not None:
            self.cluster.crash(incarnation, seconds)
        elif process.name.startswith("runner"):
            self.trace("dies", process.name)
            process.kill()
            self.later(seconds, self._start_runners, process.name)

    def _incarnation(self, process: Process) -> Incarnation | None:
        return next((one for one in self.cluster.incarnations if one.process is process), None)

    def _stop(self, fault: Fault) -> None:
        process = self._process(fault.target)
        if process is not None and process.alive and not process.stopped:
            process.stop()
            self.later(fault.seconds, self._go_on, process)

    def _go_on(self, process: Process) -> None:
        if process.stopped:
            self.went_on_at[process.name] = self.loop.time()
            process.go_on()

    def _shut_down(self, fault: Fault) -> None:
        """Let a replica end in order. Serve kills it if that takes longer than its grace period."""
        name = fault.target
        process, runners = self.names.get(name), self._runners.get(name)
        if process is None or runners is None or not process.alive:
            return
        stopping = process.start(runners.stop())
        self.later(20.0, process.kill)
        self.later(fault.seconds, self._start_runners, name)
        stopping.add_done_callback(lambda _: self.later(0.0, process.kill), context=self._outside)

    def _set_mode(self, mode: Mode, fault: Fault) -> None:
        operator = self.new_process("operator")
        operator.start(self._operate(operator, mode, fault.seconds))

    async def _operate(self, operator: Process, mode: Mode, seconds: float) -> None:
        tracker = self.cluster.client(operator)
        await answered(tracker.set_mode, mode)
        await asyncio.sleep(seconds)
        await answered(tracker.set_mode, Mode.OPEN)


def run(schedule: Schedule) -> Outcome:
    """Run a schedule. What the server would log of its faults is left out."""
    logger = logging.getLogger("ray.serve")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        return World(schedule).run()
    finally:
        logger.setLevel(level)


__all__ = ["ROOT", "Outcome", "World", "run"]
