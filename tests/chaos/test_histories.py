"""Clients of the real server write a history, while its processes are stopped and its store is away or lost.

Whatever a client was told holds for all later answers (`tests/history/checker.py`).
"""

import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from serve_app.local_server import local_server
from tests.chaos.release import with_two_ingress_replicas
from tests.chaos.site import PATIENCE_SECONDS, Site, site_of
from tests.chaos.storm import chaos_config
from tests.history.calls import History, Kind, Outcome, StoreLost
from tests.history.checker import violations
from tests.history.clients import SONGS, Board, clients_at_work
from tests.history.recorder import RecordingClient
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow

SEED = 2026
PHASE_SECONDS = 40.0
STOPPED_SECONDS = (3.0, 8.0)
CALM_SECONDS = (1.0, 4.0)
LATENCIES = (0.02, 0.6)
"""Shortest and longest burst in seconds of a store that does not answer, or does."""
OPERATOR = "10.0.1.1"
"""The client that looks at all jobs in the end."""
TIMEOUT_SECONDS = 20.0
UNEXPECTED = ("4", "500")
"""Statuses that no call of these clients may get; 404 and 409 are answers."""

Fault = Callable[[random.Random], None]
"""A fault that begins and ends."""


def stop_process(site: Site, kind: str, chance: random.Random) -> None:
    """Stop one process of a kind for a while."""
    process = chance.choice(list(site.of_kind(kind)))
    process.suspend()
    try:
        time.sleep(chance.uniform(*STOPPED_SECONDS))
    finally:
        process.resume()


def stop_redis(redis: RedisServer, chance: random.Random) -> None:
    redis.stop()
    try:
        time.sleep(chance.uniform(*STOPPED_SECONDS))
    finally:
        redis.go_on()


def slow_redis(redis: RedisServer, chance: random.Random) -> None:
    """Let a Redis answer and not answer by turns."""
    until = time.monotonic() + chance.uniform(*STOPPED_SECONDS)
    while time.monotonic() < until:
        redis.stop()
        try:
            time.sleep(chance.uniform(*LATENCIES))
        finally:
            redis.go_on()
        time.sleep(chance.uniform(*LATENCIES))


def fail_over(redis: RedisServer, chance: random.Random) -> None:
    """Kill a Redis, and start it again with what it has confirmed."""
    redis.kill()
    time.sleep(chance.uniform(0.0, STOPPED_SECONDS[1]))
    redis.start()


def lose(redis: RedisServer, site: Site, history: History, chance: random.Random) -> None:
    """Kill a Redis, and start it again empty. A job that the server then accepts is in the new store."""
    start = time.monotonic()
    redis.lose()
    time.sleep(chance.uniform(0.0, STOPPED_SECONDS[1]))
    redis.start()
    client = RecordingClient(history, site.http, site.url, OPERATOR)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while client.submit(SONGS[0], None, TIMEOUT_SECONDS).outcome is not Outcome.ANSWERED:
        assert time.monotonic() < deadline, "no job is accepted after the loss of the store"
        time.sleep(0.2)
    history.losses.append(StoreLost(start, time.monotonic()))


def lock_file(store: Path, chance: random.Random) -> None:
    """Keep others from writing to an SQLite file for a while."""
    with closing(sqlite3.connect(store, timeout=30.0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(chance.uniform(*STOPPED_SECONDS))
        other.execute("ROLLBACK")


def strike(faults: Sequence[Fault], seconds: float, chance: random.Random) -> None:
    """Let faults happen in turn for some time, each at least once."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for fault in chance.sample(faults, len(faults)):
            time.sleep(chance.uniform(*CALM_SECONDS))
            fault(chance)


def watch_to_the_end(site: Site, history: History) -> None:
    """Poll all jobs until each has ended or is unknown, and let each client list its jobs."""
    client = RecordingClient(history, site.http, site.url, OPERATOR)
    deadline = time.monotonic() + PATIENCE_SECONDS
    for job_id in {job.job_id for call in history.calls for job in call.shown}:
        while True:
            call = client.poll(job_id, TIMEOUT_SECONDS, wait=5.0)
            if call.outcome is Outcome.NOT_FOUND or any(job.has_ended for job in call.shown):
                break
            assert time.monotonic() < deadline, f"job {job_id} does not end: {call}"
    for address in {call.client for call in history.calls}:
        last = RecordingClient(history, site.http, site.url, address).list(PATIENCE_SECONDS)
        assert last.outcome is Outcome.ANSWERED, last


def record(site: Site, history: History, phases: Sequence[Sequence[Fault]]) -> None:
    """Let clients make calls while the faults of each phase happen in turn, and see all jobs end."""
    board: Board = {}
    chance = random.Random(SEED)
    for number, faults in enumerate(phases):
        with clients_at_work(history, board, site.url, SEED + 100 * number):
            strike(faults, PHASE_SECONDS, chance)
        site.wait_until_ready()
    watch_to_the_end(site, history)


def judge(history: History, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hold the rules against a history, which is written to the folder, and see that it has everything."""
    calls = sorted(history.calls, key=lambda call: call.start)
    (folder / "history.txt").write_text("\n".join(map(str, [*calls, *history.losses])))
    outcomes = Counter(f"{call.kind} {call.outcome}" for call in calls)
    states = Counter(job.status for call in calls for job in call.shown)
    problems = Counter(call.problem for call in calls if call.problem)
    with capsys.disabled():
        print(f"\n{len(calls)} calls: {dict(outcomes)}; states: {dict(states)}; problems: {dict(problems)}")
    found = violations(history)
    assert not found, "\n".join(found)
    assert {"queued", "running", "succeeded", "cancelled"} <= states.keys()
    assert {f"{kind} {Outcome.ANSWERED}" for kind in Kind} <= outcomes.keys()
    assert not [problem for problem in problems if problem.startswith(UNEXPECTED)]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.kill()


@contextmanager
def site_with(store: str, folder: Path) -> Iterator[Site]:
    """A server with two replicas of the API and a store."""
    config = with_two_ingress_replicas(chaos_config(folder))
    config["applications"][0]["args"]["jobs"]["store"] = store
    with (
        local_server(config, folder / "serve.log") as server,
        httpx.Client() as http,
    ):
        yield site_of(server, http)


def test_a_redis_that_stops_fails_over_or_is_lost_takes_nothing_back(
    redis: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History()
    with site_with(redis.url, tmp_path) as site:
        stops = [partial(stop_process, site, kind) for kind in ("tracker", "ingress")]
        phases = [
            [*stops, partial(stop_redis, redis)],
            [*stops, partial(fail_over, redis)],
            [partial(slow_redis, redis)],
            [*stops, partial(lose, redis, site, history)],
        ]
        record(site, history, phases)
    judge(history, tmp_path, capsys)


def test_a_sqlite_file_that_others_lock_takes_nothing_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History()
    store = tmp_path / "jobs.sqlite3"
    with site_with(str(store), tmp_path) as site:
        stops = [partial(stop_process, site, kind) for kind in ("tracker", "ingress")]
        record(site, history, [[*stops, partial(lock_file, store)]])
    judge(history, tmp_path, capsys)
