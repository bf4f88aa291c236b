"""Rules of the SQLite store alone: its file, its schema through the releases, and the cost of its queries."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from configs.domain import Task
from serve_app.jobs.model import JobState, Place
from serve_app.jobs.storing import sqlite_store
from serve_app.jobs.storing.sqlite_store import MIGRATIONS, SqliteJobStore
from serve_app.jobs.storing.store import StoreError
from tests.job_records import a_job

VERSION_1 = Path(__file__).parents[2] / "data" / "job_store" / "version_1.sql"

LOCKS_UNTIL_A_LINE_COMES = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
input()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "output" / "jobs.sqlite3"


def test_the_file_and_its_log_are_for_their_owner_alone(path: Path) -> None:
    with closing(SqliteJobStore(path)) as store:
        store.write({"job-1": a_job(1)})
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"jobs.sqlite3": 0o600, "jobs.sqlite3-wal": 0o600, "jobs.sqlite3-shm": 0o600}


def test_each_write_is_synced_to_the_disk(path: Path) -> None:
    with closing(SqliteJobStore(path)) as store:
        assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_of_version_1_is_read_and_written(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1.read_text())
    with closing(SqliteJobStore(path)) as store:
        (running,) = store.unsettled_jobs()
        assert (running.state, running.place) == (JobState.RUNNING, Place(-3, 12.5, 41, 52.5))
        assert running.spec.request.seed == (7, 8)
        assert running.checkpoint.plan is not None
        assert (running.checkpoint.plan.task, running.checkpoint.codes) == (Task.REPAINT, ((5, 6), None))
        assert store.find("alice", "k-1") == running
        assert [job.client for job in store.page(None, JobState.SUCCEEDED, 100, 10)] == ["bob"]
        assert store.stored_bytes() == {"alice": 1234, "bob": 9000}
        assert store.next_sequence() == 43
        assert store.secret() == b"Z" * 32
        store.write({running.job_id: None, "job-43": a_job(43)})


def test_a_database_is_taken_through_all_later_versions_once(path: Path) -> None:
    one = ("ALTER TABLE jobs ADD COLUMN mood TEXT", "UPDATE jobs SET mood = 'calm'")
    another = ("ALTER TABLE jobs RENAME COLUMN mood TO temper",)
    with closing(SqliteJobStore(path)) as store:
        store.write({"job-1": a_job(1)})
    for _ in range(2):
        with closing(SqliteJobStore(path, (*MIGRATIONS, one, another))) as store:
            assert store.get("job-1") == a_job(1)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT temper FROM jobs").fetchall() == [("calm",)]
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    broken = ("ALTER TABLE jobs ADD COLUMN mood TEXT", "UPDATE jobs SET nonsense = 1")
    with closing(SqliteJobStore(path)) as store:
        store.write({"job-1": a_job(1)})
    with pytest.raises(StoreError, match="nonsense"):
        SqliteJobStore(path, (*MIGRATIONS, broken))
    with closing(SqliteJobStore(path)) as store:
        assert store.get("job-1") == a_job(1)


def test_the_database_of_a_later_release_is_refused_with_what_to_do(path: Path) -> None:
    SqliteJobStore(path, (*MIGRATIONS, ())).close()
    with pytest.raises(StoreError, match=r"jobs\.sqlite3 has version 4, .* run the release that wrote it"):
        SqliteJobStore(path)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"jobs\.sqlite3: file is not a database"):
        SqliteJobStore(path)
    assert path.read_bytes() == b"not a database" * 100


def test_a_folder_in_the_place_of_the_file_is_a_store_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="Is a directory"):
        SqliteJobStore(path)


def test_a_database_that_another_process_keeps_locked_is_a_store_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_SECONDS", 0.1)
    with closing(SqliteJobStore(path)) as store:
        command = [sys.executable, "-c", LOCKS_UNTIL_A_LINE_COMES, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            with pytest.raises(StoreError, match="locked"):
                store.write({"job-1": a_job(1)})
            assert store.get("job-1") is None
            holder.communicate("\n")
        store.write({"job-1": a_job(1)})


def test_a_full_disk_takes_all_of_a_write_or_nothing(path: Path) -> None:
    with closing(SqliteJobStore(path)) as store:
        store.write({"job-0": a_job(0)})
        store._writer.execute("PRAGMA max_page_count = 40")
        many = {f"job-{n}": a_job(n, result={"lyrics": "la" * 4000}) for n in range(50)}
        with pytest.raises(StoreError, match="full"):
            store.write(many)
        assert store.page(None, None, 100, 100) == [a_job(0)]
        store.write({"job-1": a_job(1)})
        assert store.get("job-1") == a_job(1)


def write_twice(store: SqliteJobStore, sequence: int) -> None:
    """Write a job and then another record of it, of which all parts but the specification differ."""
    for _ in range(2):
        store.write({f"job-{sequence}": a_job(sequence)})


PRIMARY_KEY = "INTEGER PRIMARY KEY"
QUERIES: dict[str, tuple[Callable[[SqliteJobStore], object], str]] = {
    "get": (lambda store: store.get("job-1"), "(job_id=?)"),
    "unknown": (lambda store: store.unknown(["job-1", "x"]), "(job_id=?)"),
    "open jobs": (lambda store: store.unsettled_jobs(), "jobs_open"),
    "find": (lambda store: store.find("a", "key"), "jobs_by_key"),
    "page": (lambda store: store.page(None, None, 9, 9), PRIMARY_KEY),
    "page of a client": (lambda store: store.page("a", None, 9, 9), "jobs_of_client (client=? AND rowid<?)"),
    "page of a state": (lambda store: store.page(None, JobState.QUEUED, 9, 9), "jobs_in_state"),
    "page of both": (lambda store: store.page("a", JobState.QUEUED, 9, 9), "jobs_of_client_in_state"),
    "ended": (lambda store: store.ended(1e9, False, 9), "jobs_ended"),
    "ended with files": (lambda store: store.ended(1e9, True, 9), "jobs_with_files"),
    "counts": (lambda store: store.counts(), "COVERING INDEX jobs_in_state"),
    "stored bytes": (lambda store: store.stored_bytes(), "COVERING INDEX jobs_stored"),
    "delete": (lambda store: store.write({"job-2": None}), "(job_id=?)"),
    "write again": (lambda store: write_twice(store, 1), f"SEARCH checkpoints USING {PRIMARY_KEY}"),
    "parts": (lambda store: store.get("job-1"), f"SEARCH specs USING {PRIMARY_KEY}"),
}
TABLES = ("jobs", "specs", "checkpoints", "results")
WHOLE_INDEX = {"open jobs", "counts", "stored bytes"}
"""Queries that run once in a tracker's life and read the whole index."""


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_reads_more_than_it_answers(path: Path, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each query finds its rows by an index made for it, in the requested order."""
    ask, index = QUERIES[query]
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    with closing(SqliteJobStore(path)) as store:
        statements.clear()
        ask(store)
    monkeypatch.undo()
    asked = [
        text
        for text in statements
        if text.startswith(("SELECT", "UPDATE", "DELETE")) and any(table in text for table in TABLES)
    ]
    with closing(sqlite3.connect(path)) as database:
        steps = [row[3] for text in asked for row in database.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert any(index in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps
    scans = [step for step in steps if step.startswith("SCAN") and "json_each" not in step]
    assert query in WHOLE_INDEX or not scans, steps
