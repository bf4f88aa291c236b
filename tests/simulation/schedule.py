"""A schedule: what clients ask for, and which faults happen when. A seed determines it completely.

Two or three clients ask for a few jobs within half a minute. All faults have ended after `HEALED` seconds;
from then on the server must finish everything that it accepted.
"""

import random
from dataclasses import dataclass, replace

HEALED = 24.0
"""Seconds after which nothing fails any more."""
CLIENTS = {"ann": 1.0, "bob": 1.0, "cy": 2.0}
"""Weight by client."""

PROCESSES = ("tracker", "runner 0", "runner 1", "runner 2")
CLOCKS = ("tracker", "runner 0", "ann")


@dataclass(frozen=True)
class Fault:
    """One fault: it begins at a time and lasts for some seconds. `KINDS` tells what it does."""

    kind: str
    at: float
    seconds: float = 0.0
    target: str = ""
    amount: float = 0.0
    """A probability, a factor, seconds by which a clock is set, or the step at which a process dies."""


@dataclass(frozen=True)
class Request:
    """A client's request for one job, or for a batch of jobs."""

    client: str
    at: float
    song_seconds: float = 10.0
    items: int = 1
    key: str | None = None
    """Its idempotency key. Without one, the client does not repeat a request whose answer was lost."""
    priority: int = 0
    thinks: bool = False
    has_recording: bool = False
    has_callback: bool = False
    cancel_after: float | None = None
    """Seconds after which the client cancels the job, or the batch, if it has not ended."""
    jobs: int = 1
    """Jobs that are submitted together; more than one are a batch."""
    start_within: float | None = None
    """Seconds within which each must have begun, or it fails."""
    purge_after: float | None = None
    """Seconds after which the client purges the job (of a batch the first one), in whichever state it is."""


@dataclass(frozen=True)
class Schedule:
    """Everything that is decided before a run. What chance decides during the run follows from `seed`."""

    seed: int
    requests: tuple[Request, ...]
    faults: tuple[Fault, ...]
    runners: int = 2
    """Processes with runner loops."""
    loops: int = 1
    """Runner loops of each."""
    keeps_seconds: float = 86_400.0
    """For how long songs are kept after the end of a job; records twice as long."""


KINDS = {
    "crash": "a process is killed between two steps, and started again after `seconds`",
    "stop": "a process is stopped, as by SIGSTOP, and goes on after `seconds`",
    "shutdown": "a replica with runners shuts down in order, and another is started after `seconds`",
    "redeploy": "the tracker is killed for good, and one of a new version is started",
    "split": "a second tracker is started while the first goes on, and some processes still talk to that",
    "partition": "a process and the tracker cannot reach each other",
    "lossy network": "calls and answers are lost with probability `amount`",
    "repeating network": "calls are delivered twice with probability `amount`",
    "slow network": "calls and answers take up to `amount` seconds longer, so that they overtake each other",
    "store fails": "reads and writes of the store fail with probability `amount`, without effect",
    "store loses answers": "writes have their effect and fail with probability `amount`",
    "store is slow": "each call of the store takes up to `amount` seconds longer",
    "store crashes": "the store loses its next write before it is synced, and is away for `seconds`",
    "store is full": "the store takes no record, only deletions",
    "disk is full": "no file can be written, and the disk has no free byte",
    "storage fails": "deleting and writing files fails with probability `amount`",
    "clock is set": "the wall clock of `target` is set by `amount` seconds",
    "models fail": "calls of the models fail with probability `amount`, as Ray reports it",
    "models hang": "calls of the models do not answer with probability `amount`",
    "receivers fail": "callbacks are refused, lost or slow with probability `amount`",
    "draining": "an operator lets the server take no jobs",
    "paused": "an operator lets the server begin no jobs",
}
"""The effect of each kind of fault."""


def schedule_of(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    rng = random.Random(f"schedule {seed}")
    calm = rng.random() < 0.1  # a tenth has few faults, so that their load is the hardest thing about them
    count = rng.randint(0, 2) if calm else rng.randint(2, 7)
    names = rng.sample(sorted(CLIENTS), rng.choice((1, 2, 2, 3)))
    asked = [_request(rng, names) for _ in range(rng.randint(3, 10))]
    return Schedule(
        seed,
        requests=tuple(sorted(_with_rarer_wishes(seed, asked), key=lambda one: one.at)),
        faults=tuple(sorted((_fault(rng) for _ in range(count)), key=lambda one: one.at)),
        runners=rng.choice((1, 2, 2, 3)),
        loops=rng.choice((1, 1, 2)),
        keeps_seconds=rng.choice((86_400.0, 86_400.0, 20.0)),
    )


def _request(rng: random.Random, names: list[str]) -> Request:
    return Request(
        client=rng.choice(names),
        at=round(rng.choice((rng.uniform(0, 4), rng.uniform(0, 18))), 2),
        song_seconds=float(rng.choice((5, 10, 10, 20))),
        items=rng.choice((1, 1, 1, 2)),
        key=str(rng.randint(0, 5)) if rng.random() < 0.7 else None,
        priority=rng.choice((0, 0, 0, 0, 5)),
        thinks=rng.random() < 0.4,
        has_recording=rng.random() < 0.3,
        has_callback=rng.random() < 0.3,
        cancel_after=round(rng.uniform(0, 15), 2) if rng.random() < 0.2 else None,
    )


def _with_rarer_wishes(seed: int, requests: list[Request]) -> list[Request]:
    """Add purges, deadlines and batches to the requests of every other schedule.

    They have their own source of chance, so that the rest of a schedule is as it was before there were any.
    """
    rng = random.Random(f"rarer wishes {seed}")
    if rng.random() < 0.5:
        return requests
    return [
        replace(
            request,
            jobs=rng.choice((2, 3)) if rng.random() < 0.15 else 1,
            start_within=round(rng.uniform(0.5, 20), 2) if rng.random() < 0.2 else None,
            purge_after=round(rng.uniform(0, 25), 2) if rng.random() < 0.25 else None,
        )
        for request in requests
    ]


_AMOUNTS = {
    "lossy network": (0.05, 0.5),
    "repeating network": (0.1, 0.7),
    "slow network": (0.1, 4.0),
    "store fails": (0.1, 1.0),
    "store loses answers": (0.1, 1.0),
    "store is slow": (0.05, 3.0),
    "storage fails": (0.2, 1.0),
    "models fail": (0.05, 0.6),
    "models hang": (0.02, 0.3),
    "receivers fail": (0.3, 1.0),
}
_OFTEN = ("crash",) * 6 + ("stop", "split", "store crashes", "store loses answers", "clock is set") * 2


def _fault(rng: random.Random) -> Fault:
    kind = rng.choice((*_OFTEN, *sorted(KINDS)))
    at = round(rng.uniform(0, HEALED - 6), 2)
    seconds = round(min(rng.choice((rng.uniform(0.2, 3), rng.uniform(1, 15))), HEALED - 1 - at), 2)
    target, amount = "", 0.0
    if kind in _AMOUNTS:
        amount = round(rng.uniform(*_AMOUNTS[kind]), 2)
    elif kind in {"crash", "stop"}:
        target = rng.choice(("tracker", "tracker", *PROCESSES, *(sorted(CLIENTS) if kind == "stop" else ())))
        amount = float(rng.randint(1, 60)) if kind == "crash" else 0.0
    elif kind == "shutdown":
        target = rng.choice(PROCESSES[1:])
    elif kind == "partition":
        target = rng.choice((*PROCESSES[1:], *sorted(CLIENTS)))
    elif kind == "clock is set":
        target = rng.choice(("tracker", *CLOCKS))
        amount = rng.choice((-1.0, 1.0)) * round(10 ** rng.uniform(0.5, 5), 1)
    return Fault(kind, at, seconds, target, amount)
