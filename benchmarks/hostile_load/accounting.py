"""Says who took the machine's cores, and how long threads that were ready waited for one.

The processes that besiege run on the same machine as the server. This shows what they leave to it.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from benchmarks.end_to_end.processes import family, role

OTHERS, NOBODY, ELSEWHERE = "other programs", "nobody (idle)", "other machines (steal)"


@dataclass(frozen=True)
class Spent:
    """The processor time that threads of some processes had taken, and waited for, until a moment."""

    seconds: float = 0.0
    """Time on a core."""
    waited: float = 0.0
    """Time in which a thread was ready and had no core."""
    turns: int = 0
    """How often a thread got a core."""

    def plus(self, other: "Spent", factor: int = 1) -> "Spent":
        return Spent(
            self.seconds + factor * other.seconds,
            self.waited + factor * other.waited,
            self.turns + factor * other.turns,
        )

    @property
    def wait_ms(self) -> float:
        """How long a thread waited for each of its turns, on average."""
        return 1000 * self.waited / self.turns if self.turns > 0 else 0.0


@dataclass(frozen=True)
class Account:
    """The processor time of every process on the machine until a moment, by name."""

    processes: Mapping[str, Spent]
    machine: Mapping[str, float]
    """Seconds of all cores together that were not taken by `processes`, by what became of them."""

    @classmethod
    def now(cls, groups: Mapping[str, int]) -> Self:
        """Take the account of families of processes, by the name of the group and their first process.

        The group without a name is shown by the roles of its processes.
        """
        processes: dict[str, Spent] = {}
        for group, pid in groups.items():
            with suppress(psutil.Error):
                for process in family(pid):
                    with suppress(psutil.Error):
                        own = role(process)
                        name = f"{group}: {own}" if group else own
                        processes[name] = processes.get(name, Spent()).plus(_spent(process))
        times = psutil.cpu_times()
        idle = times.idle + times.iowait
        busy = times.user + times.nice + times.system + times.irq + times.softirq
        named = sum(spent.seconds for spent in processes.values())
        return cls(processes, {OTHERS: busy - named, NOBODY: idle, ELSEWHERE: times.steal})

    def since(self, before: Self) -> "Account":
        """Return what was taken after `before`. What threads waited that have ended meanwhile is lost."""
        return Account(
            {
                name: spent.plus(before.processes.get(name, Spent()), -1)
                for name, spent in self.processes.items()
            },
            {name: seconds - before.machine[name] for name, seconds in self.machine.items()},
        )


def _spent(process: psutil.Process) -> Spent:
    """Return what a process has taken, and what its living threads have waited.

    The second is described in the kernel's documentation under "schedstats".
    """
    times = process.cpu_times()
    total = Spent(times.user + times.system)
    for task in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            _, waited, turns = map(int, task.read_text().split())
            total = total.plus(Spent(0.0, waited / 1e9, turns))
    return total
