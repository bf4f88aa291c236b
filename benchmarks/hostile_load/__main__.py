"""Songs, `/health` and memory of the embedded default: idle, with songs, and with songs under siege.

`python -m benchmarks.hostile_load [--json FILE]`

Six bodies of 8 MB, 1,000 event streams, 50 slow readers and 16 long uploads come at once (strangers.py).
After the streams are connected, ten songs are made. No job may lose its lease, and at the 99th percentile
`/health` may take 50 ms longer than while the songs are made without strangers.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.statistics import percentile
from benchmarks.hostile_load.accounting import Spent
from benchmarks.hostile_load.siege import (
    ALONE,
    BESIEGED,
    CONTROL,
    MIB,
    SONGS,
    SONGS_BESIEGED,
    Measurement,
    measure,
)
from benchmarks.measuring import show, write_json

LIMIT_MS = 50.0
ANSWERING = ("ProxyActor", "Ingress", f"{CONTROL}: ProxyActor", f"{CONTROL}: Web")
"""The processes that answer `/health`, and those of the control."""


def main() -> int:
    """Print the tables; 1 where a lease was lost, a song failed or `/health` became slow."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = options.parse_args()
    figures = measure()
    tables = {
        "GET /health, and the same of an application that does nothing (control)": health_table(figures),
        "Cores that everybody took": cores_table(figures),
        "How long a thread waits for each turn on a core, ms": waits_table(figures),
        "Largest resident memory of each process, MiB": memory_table(figures),
        "What the strangers were answered": [
            {"request": kind, "count": number} for kind, number in sorted(figures.answers.items())
        ],
    }
    for title, table in tables.items():
        show(title, table)
    print(f"\nattempts that ended without a song: {figures.lost_attempts}")
    if chosen.json:
        write_json(chosen.json, tables | {"lost attempts": figures.lost_attempts})
    slower = figures.p99(figures.health, SONGS_BESIEGED) - figures.p99(figures.health, ALONE)
    missing = any(figures.phase(name).songs < SONGS for name in (ALONE, SONGS_BESIEGED))
    return int(slower > LIMIT_MS or missing or figures.lost_attempts > 0)


def health_table(figures: Measurement) -> list[dict[str, Any]]:
    """Return how long `/health` and the control took in each phase."""
    rows = []
    for phase in figures.phases:
        times = figures.within(figures.health, phase.name)
        rows.append(
            {
                "while": phase.name,
                "seconds": phase.ended - phase.began,
                "songs": phase.songs,
                "answers": len(times),
                "p50, ms": percentile(times, 0.5),
                "p99, ms": percentile(times, 0.99),
                "longest, ms": max(times),
                "control p50, ms": percentile(figures.within(figures.control, phase.name), 0.5),
                "control p99, ms": figures.p99(figures.control, phase.name),
            }
        )
    return rows


def cores_table(figures: Measurement) -> list[dict[str, Any]]:
    """Return how many cores everybody on the machine took, largest first, and how many were left."""
    rows: dict[str, dict[str, float]] = {}
    for phase in figures.phases:
        seconds = {name: spent.seconds for name, spent in phase.account.processes.items()}
        for name, taken in (seconds | dict(phase.account.machine)).items():
            rows.setdefault(name, {})[phase.name] = taken / (phase.ended - phase.began)
    machine = figures.phase(BESIEGED).account.machine
    shown = [name for name, cores in rows.items() if max(cores.values()) >= 0.02 and name not in machine]
    shown.sort(key=lambda name: -max(rows[name].values()))
    return [{"who": name, **rows[name]} for name in [*shown, *machine]]


def waits_table(figures: Measurement) -> list[dict[str, Any]]:
    """Return how long a thread that was ready waited for a core, of the processes that answer requests."""
    return [
        {
            "process": name,
            **{phase.name: phase.account.processes.get(name, Spent()).wait_ms for phase in figures.phases},
        }
        for name in ANSWERING
    ]


def memory_table(figures: Measurement) -> list[dict[str, Any]]:
    """Return the largest resident set of each process in each phase, largest first."""
    last = figures.phase(SONGS_BESIEGED)
    return [
        {"process": name, **{phase.name: phase.memory.get(name, 0) / MIB for phase in figures.phases}}
        for name in sorted(last.memory, key=lambda name: -last.memory[name])
    ]


if __name__ == "__main__":
    raise SystemExit(main())
