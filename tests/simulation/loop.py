"""An asyncio event loop in virtual time, on which several processes run, stop and die.

Time passes only when nothing is left to do at the present moment, so waiting costs nothing. Every callback
belongs to the process in whose context it was made. A process that is killed never runs again, as after
SIGKILL: none of its `finally` blocks runs. One that is stopped, as by SIGSTOP, runs its callbacks when it
goes on. Calls that would block a thread run at once, at a moment of virtual time that the simulation chooses.

The order of everything follows from the order of the calls. In particular tasks are hashed by their number
and not by their address, because asyncio keeps them in sets. So two runs from one seed are the same.
"""

import asyncio
import hashlib
import heapq
from array import array
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any

_PROCESS: ContextVar["Process | None"] = ContextVar("simulated process", default=None)
Delays = Callable[[object], tuple[float, float]]
"""Maps the executor of a blocking call to the seconds before and after its effect."""


class Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        # asyncio puts a task into a set of all tasks when it is made, so it must have its number by then.
        self.number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


class Process:
    """One simulated process: a name, and the context in which its callbacks are made."""

    def __init__(self, name: str, loop: "SimulatedLoop") -> None:
        self.name = name
        self.number = len(loop.processes) + 1
        loop.processes.append(self)
        self.alive = True
        self.steps = 0
        """Number of callbacks that it has run."""
        self.dies_at_step: int | None = None
        self.stopped = False
        self.held: list[_Handle] = []
        self.context = copy_context()
        self.context.run(_PROCESS.set, self)
        self.after_step: Callable[[], None] | None = None
        self._loop = loop

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Run a coroutine as a task of this process."""
        return self._loop.create_task(coroutine, context=self.context)

    def kill(self) -> None:
        """End the process at once."""
        self.alive = False

    def stop(self) -> None:
        """Let the process run nothing until `go_on`."""
        self.stopped = True

    def go_on(self) -> None:
        """Run what has come meanwhile."""
        self.stopped = False
        self._loop.resume(self.held)
        self.held = []


class _Handle:
    """A callback that will run, unless it is cancelled or its process dies."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "process")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.process = context.get(_PROCESS)
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled


class BlockingCall:
    """A call in a simulated thread. Its effect comes first, its answer later, and it may be lost between."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self.answer: Any = None
        self.error: BaseException | None = None
        self.more_seconds = 0.0
        """Seconds that the function adds to the time until its answer."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop. `run` makes one step after the other until a condition holds."""

    def __init__(self, delays: Delays) -> None:
        self.processes: list[Process] = []
        self._delays = delays
        self._now = 0.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._sequence = count()
        self._task_numbers = count(1)
        self._free_at: dict[object, float] = {}
        """When each thread of an executor with only one has ended its last call."""
        self._tasks: list[Task] = []
        self._ended = False
        self.thread_call: BlockingCall | None = None
        """The blocking call whose function runs now."""
        self._is_to_look = False
        self._times = array("d")
        self._numbers = array("H")
        self.on_death: Callable[[Process], None] = lambda process: process.kill()
        """Called where a process reaches the step at which it dies."""

    # Time and callbacks

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = _Handle(callback, args, copy_context() if context is None else context)
        if not self._ended:
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = _Handle(callback, args, copy_context() if context is None else context)
        if not self._ended:
            heapq.heappush(self._timers, (when, next(self._sequence), handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = _Handle(callback, args, copy_context() if context is None else context)
        if not self._ended:
            heapq.heappush(self._timers, (self._now + delay, next(self._sequence), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> Task:
        task = Task(next(self._task_numbers), coro, loop=self, name=name or "", context=context)
        self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._ended

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Do nothing: unexpected errors show in what becomes of the jobs."""

    # Blocking calls

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run a function at a later moment, and answer at a still later one.

        A pool with one thread makes its calls one after the other, in the order in which they came.
        """
        call = BlockingCall(self.create_future())
        before, after = self._delays(executor)
        begins = self._now
        is_single = isinstance(executor, ThreadPoolExecutor) and executor._max_workers == 1
        if is_single:
            begins = max(begins, self._free_at.get(executor, 0.0))
            self._free_at[executor] = begins + before + after

        def work() -> None:
            self.thread_call = call
            try:
                call.answer = func(*args)
            except Exception as error:
                call.error = error
            self.thread_call = None
            if is_single:
                self._free_at[executor] += call.more_seconds
            self.call_later(after + call.more_seconds, answer)

        def answer() -> None:
            if call.future.done():
                return
            if call.error is not None:
                call.future.set_exception(call.error)
            else:
                call.future.set_result(call.answer)

        self.call_at(begins + before, work)
        return call.future

    # Running

    def resume(self, handles: list[_Handle]) -> None:
        self._ready.extend(handles)

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Make steps until a condition holds; False if it does not at time `limit`, or if nothing is left.

        The condition is looked at when time passes, and after steps that `end_soon` follows. This function
        runs thousands of callbacks in each schedule, so it calls no other for one.
        """
        events._set_running_loop(self)
        ready, timers = self._ready, self._timers
        note_time, note_number = self._times.append, self._numbers.append
        try:
            while True:
                while ready and not self._is_to_look:
                    handle = ready.popleft()
                    process = handle.process
                    if handle.is_cancelled:
                        continue
                    if process is None:
                        handle.context.run(handle.callback, *handle.args)
                        continue
                    if process.stopped or not process.alive:
                        process.held.append(handle)  # those of a dead process are kept for `close`
                        continue
                    process.steps += 1
                    if process.steps == process.dies_at_step:
                        process.held.append(handle)
                        self.on_death(process)
                        continue
                    note_time(self._now)
                    note_number(process.number)
                    handle.context.run(handle.callback, *handle.args)
                    if process.after_step is not None:
                        process.after_step()
                if until():
                    return True
                self._is_to_look = False
                if ready:
                    continue
                if not timers or timers[0][0] > limit:
                    return False
                when, _, handle = heapq.heappop(timers)
                if not handle.is_cancelled:
                    if when > self._now:
                        self._now = when
                    ready.append(handle)
        finally:
            events._set_running_loop(None)

    def end_soon(self) -> None:
        """Look at the condition of `run` after this step."""
        self._is_to_look = True

    @property
    def steps(self) -> int:
        """The number of steps that processes have made."""
        return len(self._times)

    @property
    def digest(self) -> bytes:
        """A checksum of all steps: when each ran, and in which process."""
        return hashlib.blake2b(self._times.tobytes() + self._numbers.tobytes(), digest_size=16).digest()

    def close(self) -> None:
        """Cancel all tasks, of processes that were killed as well, so that nothing of them is left."""
        events._set_running_loop(self)
        for process in self.processes:
            self._ready.extend(process.held)
            process.held = []
            process.after_step = None
        try:
            for _ in range(10):
                left = [task for task in self._tasks if not task.done()]
                self._tasks = []
                for task in left:
                    task.cancel()
                self._timers.clear()
                while self._ready:
                    handle = self._ready.popleft()
                    if not handle.is_cancelled:
                        handle.context.run(handle.callback, *handle.args)
                self._tasks = [task for task in [*left, *self._tasks] if not task.done()]
                if not self._tasks:
                    break
        finally:
            events._set_running_loop(None)
            self._ended = True
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]


def current_process() -> Process | None:
    """Return the process whose callback runs now; None outside of all."""
    return _PROCESS.get()
