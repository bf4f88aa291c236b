"""Runs each part in a process of its own, so that a failure, a hang or a crash ends that part alone."""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.flash_on_cpu import flash_kernel_on_cpu
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.measuring import running_threads

Figures = dict[str, Any]

_LAST_ROW_SECONDS = 10.0
"""Seconds by which a part may exceed its time before it is killed, so that it can finish its last row."""


@dataclass(frozen=True)
class Part:
    """One measurement, which yields the rows of its table."""

    name: str
    rows: Callable[[Sizes], Iterator[Figures]]
    seconds: float
    """Seconds that the part may take. Rows after that are left out."""


@dataclass
class Outcome:
    """The state of a part."""

    rows: list[Figures] = field(default_factory=list)
    seconds: float = 0.0
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Return whether the part ended well and no row reports an error."""
        return self.problem is None and all(row.get("ok", True) for row in self.rows)


def run(part: Part, sizes: Sizes) -> Iterator[Outcome]:
    """Yield the outcome after each row and at the end. It is the same object each time."""
    # A forked process has all modules without importing them again. This process must not use the GPU before.
    processes = multiprocessing.get_context("fork")
    receiving, sending = processes.Pipe(duplex=False)
    child = processes.Process(target=_tell_rows, args=(part, sizes, sending), name=part.name)
    started = time.monotonic()
    allowed = sizes.patience * (part.seconds + _LAST_ROW_SECONDS)
    child.start()
    sending.close()
    outcome = Outcome()
    try:
        while receiving.poll(max(0.0, started + allowed - time.monotonic())):
            said = receiving.recv()
            outcome.seconds = time.monotonic() - started
            if isinstance(said, dict):
                outcome.rows.append(said)
                yield outcome
                continue
            outcome.problem = said
            break
        else:
            outcome.problem = f"killed: no answer after {allowed:.0f} s"
    except EOFError:
        child.join()
        outcome.problem = f"its process ended with exit code {child.exitcode}"
    finally:
        child.kill()
        child.join()
        receiving.close()
    outcome.seconds = time.monotonic() - started
    yield outcome


def _tell_rows(part: Part, sizes: Sizes, sending: Connection) -> None:
    """Send each row, and at the end a description of the error or None."""
    started = time.monotonic()
    problem = None
    with ExitStack() as stack:
        if not sizes.on_gpu:
            stack.enter_context(flash_kernel_on_cpu())
            stack.enter_context(running_threads(1))
        try:
            for row in part.rows(sizes):
                sending.send(row)
                if time.monotonic() - started > sizes.patience * part.seconds:
                    problem = f"stopped after {part.seconds:.0f} s: rows are missing"
                    break
        except Exception:
            problem = traceback.format_exc()
    sending.send(problem)
