"""Ray in a simulation: the tracker's actor with its restarts, and a network that loses, repeats and delays.

A call that Ray cannot deliver is either sent again or raises ActorUnavailableError, as with an actor that has
`max_task_retries`; one to an actor that has ended for good raises ActorDiedError; an error of the tracker
arrives as a RayTaskError that is also of its own type.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import ray.exceptions

from serve_app.jobs.book import JobBook
from serve_app.jobs.client import Actors, ServedTracker, TrackerConnection
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.model import Job
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.tracker import JobTracker
from serve_app.jobs.tracker_api import TrackerApi, client_over
from tests.simulation.loop import Process, current_process
from tests.simulation.referee import Watcher

if TYPE_CHECKING:
    import asyncio

    from tests.simulation.world import World


class _ExitError(Exception):
    """The tracker's process ends itself."""


class Incarnation:
    """One process of the tracker's actor."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.process = world.new_process(name)
        self.calls: dict[int, _Call] = {}
        self.watcher = Watcher(world.referee)
        self._is_changed = False
        self.process.after_step = self.after_step
        outside = world.surroundings(self.process)
        self.tracker = DurableTracker(world.settings, self.watcher, outside, has_predecessor=True)
        self.watcher.tracker = self.tracker
        self._opened: tuple[JobTracker, Journal] | None = None
        self._served = ServedTracker(self.tracker, self._exit, outside.steady)

    def after_step(self) -> None:
        """Check what may have changed."""
        opened = self.tracker._opened
        if opened is not self._opened:
            if self._opened is not None:
                self.world.referee.began_anew(self._opened[1])
            self._opened = opened
            if opened is not None:
                self.watcher.resumed(self.world.loop.time())
                self._note_changes(opened[0]._book)
                self._is_changed = True
        if self._is_changed:
            self._is_changed = False
            self.world.referee.audit(self.tracker)
            if self is not self.world.cluster.newest:
                self.world.referee.may_lose_unwritten(self.tracker)

    def _note_changes(self, book: JobBook) -> None:
        """Let every change of a record lead to an audit after its step."""
        save, delete = book.save, book.delete

        def saved(job: Job, settled: Job | None = None) -> Job:
            self._is_changed = True
            return save(job, settled)

        def deleted(job: Job) -> None:
            self._is_changed = True
            delete(job)

        book.save, book.delete = saved, deleted  # type: ignore[method-assign]

    async def answer(self, call: "_Call") -> None:
        """Answer one call, and hear from it which leases are renewed."""
        world = self.world
        answer, error = None, None
        try:
            answer = await self._served.call(call.method, *call.arguments)
            if call.method == "heartbeat" and answer:
                self.watcher.heard[call.arguments[0]] = world.loop.time()
        except _ExitError:
            world.cluster.ended(self)
            return
        except Exception as cause:
            remote = ray.exceptions.RayTaskError(call.method, "", cause, "tracker", 1, "10.0.0.1")
            error = remote.as_instanceof_cause()
        world.cluster.answer(call, self, answer, error)

    def _exit(self) -> None:
        raise _ExitError


class _Call:
    """A call of one process, until it is answered."""

    def __init__(self, number: int, source: Process, method: str, arguments: tuple[Any, ...]) -> None:
        self.number = number
        self.source = source
        self.method = method
        self.arguments = arguments
        self.future: asyncio.Future[Any]
        self.sent = 0

    @property
    def is_over(self) -> bool:
        return self.future.done() or not self.source.alive


class Actor:
    """The named actor, which Ray restarts until it has ended for good, and its handle."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self.has_ended = False
        self.newest: Incarnation | None = None
        self.waiting: list[_Call] = []
        """Calls that wait until the actor runs again."""
        self.still: dict[str, Incarnation] = {}
        """Processes that still talk to an earlier incarnation."""
        self.call = self

    def remote(self, method: str, *arguments: Any) -> "asyncio.Future[Any]":
        """Send a call, as `actor.call.remote` does."""
        return self._cluster.send_new(self, method, arguments)

    def route(self, source: Process) -> Incarnation | None:
        old = self.still.get(source.name)
        return old if old is not None and old.process.alive else self.newest


class Cluster:
    """Starts and restarts the tracker, and carries the calls to it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = world.rng_of("network")
        self._numbers = 0
        self._calls = 0
        self.actor = Actor(self)
        self.incarnations: list[Incarnation] = []

    @property
    def newest(self) -> Incarnation | None:
        return self.actor.newest

    def client(self, source: Process) -> TrackerApi:
        """Return the client of a process, with the real way of finding a tracker."""
        actors = Actors(lambda _: self._found(), lambda _: self._get_or_create())
        connection = TrackerConnection(self._world.settings, actors, self._world.loop.time)
        return client_over(self._asking(source, connection.call))

    # Life of the actor

    def start(self) -> None:
        """Start a process of the actor."""
        actor = self.actor
        self._numbers += 1
        actor.newest = Incarnation(self._world, f"tracker {self._numbers}")
        self.incarnations.append(actor.newest)
        waiting, actor.waiting = actor.waiting, []
        for call in waiting:
            self._send(actor, call)

    def crash(self, incarnation: Incarnation, seconds: float) -> None:
        """Kill a process of the actor; if it is the newest, Ray starts another one after some seconds."""
        if not incarnation.process.alive:
            return
        self._bury(incarnation)
        if incarnation is self.actor.newest:
            self.actor.newest = None
            self._world.later(seconds, self._restart, self.actor)

    def redeploy(self) -> None:
        """Kill the actor for good, and start that of another version, as a new application does."""
        self._end_for_good()
        self._get_or_create()

    def split(self, seconds: float) -> None:
        """Start a second process of the actor while the first goes on, and still serves some callers."""
        old = self.actor.newest
        if old is None or old.tracker._opened is None:
            return
        for name in sorted(self._world.names):
            if self._rng.random() < 0.4:
                self.actor.still[name] = old
        self._world.referee.may_lose_unwritten(old.tracker)
        self.start()
        self._world.later(seconds, self._end_split, old)

    def ended(self, incarnation: Incarnation) -> None:
        """Note that a process has ended itself because its store was taken over: Ray does not restart it."""
        self._bury(incarnation)
        if incarnation is self.actor.newest:
            self._end_for_good()
            # Nobody starts another tracker until an operator deploys the application again.
            self._world.later(5.0, self._get_or_create)

    def _restart(self, actor: Actor) -> None:
        if actor is self.actor and actor.newest is None and not actor.has_ended:
            self.start()

    def _end_split(self, old: Incarnation) -> None:
        self.actor.still = {name: one for name, one in self.actor.still.items() if one is not old}
        if old.process.alive and old is not self.actor.newest:
            self._bury(old)

    def _end_for_good(self) -> None:
        actor = self.actor
        actor.has_ended = True
        for one in self.incarnations:
            if one.process.alive:
                self._bury(one)
        actor.newest = None
        for call in actor.waiting:
            self._fail(call, ray.exceptions.ActorDiedError())
        actor.waiting = []

    def _bury(self, incarnation: Incarnation) -> None:
        self._world.trace("dies", incarnation.process.name)
        self._world.referee.may_lose_unwritten(incarnation.tracker)
        incarnation.process.kill()
        calls, incarnation.calls = list(incarnation.calls.values()), {}
        for call in calls:
            self._lose(self.actor, call, 0.5)

    def _found(self) -> Actor | None:
        return None if self.actor.has_ended else self.actor

    def _get_or_create(self) -> Actor:
        if self.actor.has_ended:
            self.actor = Actor(self)
            self._world.later(self._rng.uniform(0.01, 1.0), self._restart, self.actor)
        return self.actor

    # Calls

    def _asking(
        self, source: Process, call: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Note which leases a process is told that it has."""
        referee, loop = self._world.referee, self._world.loop

        async def ask(method: str, *arguments: Any) -> Any:
            asked_at = loop.time()
            answer = await call(method, *arguments)
            if method == "heartbeat" and answer:
                referee.was_renewed(source.name, arguments[0], asked_at)
            elif method == "claim" and answer is not None:
                # The lease began when the claim was made, which may be later than it was asked for.
                referee.was_renewed(source.name, answer.job.job_id, loop.time())
            return answer

        return ask

    def send_new(self, actor: Actor, method: str, arguments: tuple[Any, ...]) -> "asyncio.Future[Any]":
        source = current_process()
        assert source is not None
        self._calls += 1
        call = _Call(self._calls, source, method, arguments)
        call.future = self._world.loop.create_future()
        self._send(actor, call)
        return call.future

    def _send(self, actor: Actor, call: _Call) -> None:
        if call.is_over:
            return
        if actor.has_ended:
            self._fail(call, ray.exceptions.ActorDiedError())
            return
        target = actor.route(call.source)
        if target is None:
            actor.waiting.append(call)
            return
        target.calls[call.number] = call
        if self._is_lost(call):
            self._world.note("calls lost")
            self._lose(actor, call)
            return
        times = 2 if self._world.chance("repeating network", self._rng) else 1
        for _ in range(times):
            self._world.later(self._latency(), self._deliver, target, call)

    def _deliver(self, target: Incarnation, call: _Call) -> None:
        if target.process.alive:
            target.process.start(target.answer(call))

    def answer(self, call: _Call, source: Incarnation, answer: Any, error: Exception | None) -> None:
        """Carry an answer back."""
        world = self._world
        world.trace(call.method, f"{call.source.name} {type(error or answer).__name__}")
        if self._is_lost(call):
            world.note("answers lost")
            world.later_in(None, 0.0, self._lose, self.actor, call)
            return
        source.calls.pop(call.number, None)
        world.later_in(call.source, self._latency(), _settle, call, answer, error)

    def _lose(self, actor: Actor, call: _Call, resend: float = 0.6) -> None:
        """Send a call again later, or let it fail."""
        pause = self._rng.uniform(0.1, 2.0)
        if self._rng.random() < resend:
            self._world.later(pause, self._send, actor, call)
        else:
            self._fail(call, ray.exceptions.ActorUnavailableError("the actor is unavailable", None), pause)

    def _fail(self, call: _Call, error: Exception, pause: float = 0.01) -> None:
        self._world.later_in(call.source, pause, _settle, call, None, error)

    def _is_lost(self, call: _Call) -> bool:
        active = self._world.active
        if not active:
            return False
        cut = active.get("partition")
        if cut is not None and cut.target == call.source.name:
            return True
        return self._world.chance("lossy network", self._rng)

    def _latency(self) -> float:
        seconds = self._rng.expovariate(1 / 0.002)
        slow = self._world.active.get("slow network")
        return seconds + (self._rng.uniform(0, slow.amount) if slow is not None else 0.0)


def _settle(call: _Call, answer: Any, error: Exception | None) -> None:
    if call.future.done():
        return
    if error is not None:
        call.future.set_exception(error)
    else:
        call.future.set_result(answer)
