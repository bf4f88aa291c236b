"""The stores of every release can be opened, and their jobs are finished."""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from configs.settings import ModelSettings
from serve_app.jobs.model import JobState
from serve_app.jobs.storing.sqlite_store import SqliteJobStore
from serve_app.jobs.storing.store import JobStore
from serve_app.jobs.storing.stores import open_store
from serve_app.request.planning import dit_model
from tests.golden_stores import BEFORE_MODELS, LAYOUTS, golden_jobs, jobs_of, restore_redis, restore_sqlite
from tests.job_tracking import Tracking
from tests.redis_server import RedisServer

each_layout = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture(params=["sqlite", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def golden_location(kind: str, layout: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store as the release with this layout left it."""
    if kind == "sqlite":
        path = tmp_path / "golden" / "jobs.sqlite3"
        restore_sqlite(layout, path)
        return str(path)
    server: RedisServer = request.getfixturevalue("redis_server")
    restore_redis(layout, server.url, tmp_path.name)
    return f"{server.url}?prefix={tmp_path.name}"


@pytest.fixture
def golden(golden_location: str) -> Iterator[JobStore]:
    with closing(open_store(golden_location)) as store:
        yield store


@each_layout
def test_a_store_of_each_release_opens(golden: JobStore, layout: str) -> None:
    running, succeeded = jobs_of(layout).values()
    assert list(golden.unsettled_jobs()) == [running, succeeded]
    assert golden.find("alice", "k-1") == running
    assert golden.page("bob", JobState.SUCCEEDED, 99, 9) == [succeeded]
    assert golden.stored_bytes() == {"alice": 1234, "bob": 9000}
    assert golden.next_sequence() == 43
    assert golden.secret() == bytes(32)
    golden.write(
        {running.job_id: None, succeeded.job_id: succeeded.with_(callback=None, batch_callback=None)}
    )
    assert golden.ended(2e9, True, 9) == [succeeded.with_(callback=None, batch_callback=None)]


@each_layout
def test_the_jobs_of_each_release_are_finished(golden_location: str, layout: str) -> None:
    """The running job's runner is gone: its lease expires, and another one goes on from its checkpoint."""
    running, succeeded = jobs_of(layout).values()
    with closing(open_store(golden_location)) as store:
        tracking = Tracking(store=store)
        tracking.wait(tracking.settings.lease_seconds)
        assert tracking.tracker.requeue_expired() == [running.job_id]
        tracking.flush()
    with closing(open_store(golden_location)) as store:
        tracking = Tracking(store=store)
        claim = tracking.tracker.claim("token")
        assert claim is not None
        assert (claim.job.spec, claim.job.checkpoint) == (running.spec, running.checkpoint)
        assert tracking.tracker.finish(running.job_id, "token", {"bpm": 90}, ("results/a/0.mp3",), 10)
        tracking.flush()
    with closing(open_store(golden_location)) as store:
        finished = store.get(running.job_id)
        assert finished is not None
        assert (finished.state, finished.result, finished.attempt) == (JobState.SUCCEEDED, {"bpm": 90}, 3)
        assert store.get(succeeded.job_id) == succeeded


def test_jobs_of_an_earlier_release_name_no_dit_and_get_the_default() -> None:
    for job in jobs_of(BEFORE_MODELS).values():
        assert dit_model(job.spec, ModelSettings(dits=("first", "second"))) == "first"


@pytest.mark.parametrize("layout", LAYOUTS[-1:])
def test_what_is_written_now_is_what_the_golden_files_hold(
    kind: str, golden_location: str, request: pytest.FixtureRequest
) -> None:
    """Where this fails, what is stored has changed: add files of the new layout, and keep the old ones."""
    location = request.getfixturevalue(f"{kind}_location")
    with closing(open_store(location)) as store:
        store.write(golden_jobs())
    assert raw_records(location) == raw_records(golden_location)


def raw_records(location: str) -> list[Any]:
    """Return all records and parts as they are stored."""
    parts = ("specs", "checkpoints", "results")
    if location.startswith("redis"):
        url, _, prefix = location.partition("?prefix=")
        with redis.Redis.from_url(url) as client:
            return [client.hgetall(f"{prefix}:{name}") for name in ("records", *parts)]
    with closing(sqlite3.connect(location)) as database:
        queries = ("SELECT job_id, record FROM jobs", *(f"SELECT * FROM {part}" for part in parts))
        return [database.execute(f"{query} ORDER BY 1").fetchall() for query in queries]


# A tracker that is killed while it brings a store up to date


def open_until(path: Path, statement: int) -> None:
    """Open a store, and die by SIGKILL as the given statement begins."""
    connect, seen = sqlite3.connect, iter(range(statement + 1))

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda _: die_after(seen))
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]
    SqliteJobStore(path)
    os._exit(0)


def die_after(left: Iterator[int]) -> None:
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)


def exit_code_of(work: Callable[..., None], *arguments: Any) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join(30)
    return process.exitcode


@pytest.mark.parametrize("layout", LAYOUTS[:1])
def test_a_tracker_that_is_killed_at_any_statement_of_a_migration_loses_no_job(
    layout: str, tmp_path: Path
) -> None:
    whole = list(jobs_of(layout).values())
    for statement in range(100):
        path = tmp_path / f"{statement}.sqlite3"
        restore_sqlite(layout, path)
        code = exit_code_of(open_until, path, statement)
        with closing(SqliteJobStore(path)) as store:
            assert list(store.unsettled_jobs()) == whole
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert statement > 10  # each statement of the migration, and those around it
