"""Clients that submit, poll, cancel, list and purge jobs at random, and know of each other's jobs."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event

import httpx

from tests.history.calls import Call, History, Kind, Outcome
from tests.history.recorder import RecordingClient

CLIENTS = 8
MOST_OPEN = 4
"""Jobs of a client that may wait or run when it submits another."""
PAUSE_SECONDS = (0.02, 0.3)
TIMEOUTS = (0.7, 2.0, 15.0)
"""A client gives up a call after one of these times; some of its calls take effect all the same."""
LATEST = 12
"""Clients look at so many of the latest jobs more often than at earlier ones."""
SONG = {
    "bpm": 100,
    "key_scale": "C Major",
    "time_signature": "4/4",
    "batch_size": 1,
    "audio_format": "wav",
    "use_random_seed": False,
    "seed": 1,
}
SONGS = (
    {**SONG, "caption": "a short song", "audio_duration": 1.0},
    {**SONG, "caption": "a song with a plan", "audio_duration": 3.0, "thinking": True},
)
WEIGHTS = {Kind.SUBMIT: 4, Kind.POLL: 12, Kind.CANCEL: 1, Kind.PURGE: 1, Kind.LIST: 1}
"""How often each kind of call is made, relative to the others."""
REPEATED = 0.3
"""The share of submits that repeat an earlier one under its idempotency key."""
WITHOUT_KEY = 0.1
WAITING = 0.2
"""The share of polls that wait for a change."""

Board = dict[str, None]
"""The ids of all jobs that any client was told of, in that order."""


class RandomClient:
    """One client. A seed decides what it does, as far as the answers are the same."""

    def __init__(self, recording: RecordingClient, board: Board, seed: int) -> None:
        self._recording = recording
        self._board = board
        self._seed = seed
        self._chance = random.Random(seed)
        self._keys: list[str] = []
        self._unanswered: str | None = None
        """The key of its last submit, if that has no answer."""
        self._open: set[str] = set()
        """Its jobs that wait or run, as far as it knows."""

    def run(self, over: Event) -> None:
        """Make calls until it is over."""
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        while not over.wait(self._chance.uniform(*PAUSE_SECONDS)):
            (kind,) = self._chance.choices(kinds, weights)
            if call := self._make(kind, self._chance.choice(TIMEOUTS)):
                self._learn(call)

    def _make(self, kind: Kind, timeout: float) -> Call | None:
        if kind is Kind.LIST:
            return self._recording.list(timeout)
        if kind is Kind.SUBMIT:
            return self._submit(timeout)
        job_id = self._some_job()
        if job_id is None:
            return None
        if kind is Kind.POLL:
            wait = self._chance.uniform(0.5, 3.0) if self._chance.random() < WAITING else 0.0
            return self._recording.poll(job_id, timeout, wait)
        return {Kind.CANCEL: self._recording.cancel, Kind.PURGE: self._recording.purge}[kind](job_id, timeout)

    def _submit(self, timeout: float) -> Call | None:
        if self._unanswered is not None:
            key = self._unanswered
        elif self._keys and self._chance.random() < REPEATED:
            key = self._chance.choice(self._keys[-LATEST:])
        elif len(self._open) >= MOST_OPEN:
            return None
        elif self._chance.random() < WITHOUT_KEY:
            return self._recording.submit(SONGS[0], None, timeout)
        else:
            key = f"{self._seed}-{len(self._keys)}"
            self._keys.append(key)
        song = SONGS[self._keys.index(key) % len(SONGS)]
        return self._recording.submit(song, key, timeout)

    def _some_job(self) -> str | None:
        """Return one of its own open jobs, one of the latest of anybody, or any."""
        known = list(self._board)
        some = self._chance.choice([sorted(self._open), known[-LATEST:], known])
        return self._chance.choice(some) if some else None

    def _learn(self, call: Call) -> None:
        for job in call.shown:
            self._board.setdefault(job.job_id)
        if call.kind is Kind.SUBMIT:
            self._unanswered = call.key if call.outcome is Outcome.UNANSWERED else None
        still_open = {job.job_id for job in call.shown if not job.has_ended}
        if call.kind is Kind.LIST and call.outcome is Outcome.ANSWERED:
            self._open = still_open
        elif call.kind is Kind.SUBMIT:
            self._open |= still_open
        elif call.outcome is not Outcome.UNANSWERED and call.job_id not in still_open:
            self._open.discard(call.job_id or "")


@contextmanager
def clients_at_work(history: History, board: Board, url: str, seed: int) -> Iterator[None]:
    """Let `CLIENTS` clients make calls, each in a thread of its own."""
    over = Event()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        working = []
        for number in range(CLIENTS):
            http = stack.enter_context(httpx.Client())
            recording = RecordingClient(history, http, url, f"10.0.0.{number + 1}")
            working.append(pool.submit(RandomClient(recording, board, seed + number).run, over))
        try:
            yield
        finally:
            over.set()
            for work in working:
                work.result()
