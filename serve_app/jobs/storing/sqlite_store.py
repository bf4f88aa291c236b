"""The job store in an SQLite file on a local disk: for one server, with nothing to install."""

import json
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.storing.parts import PARTS, WrittenParts
from serve_app.jobs.storing.records import RecordReader, newer_version, parts_to_json, record_to_json
from serve_app.jobs.storing.store import SECRET_BYTES, ClientKey, SetAside, StoreError, check_owner
from serve_app.jobs.usage import AMOUNTS, Counted, Usage, UsageKey, added_by

logger = logging.getLogger("ray.serve")

BUSY_SECONDS = 10.0
"""Maximum wait for another process's transaction."""

ERASE_MILLISECONDS = 200
"""How long `erase_deleted` waits for other processes that read the file; it is tried again later."""

LOG_BYTES = 16 << 20
"""Size to which the write-ahead log is cut back. Deletions use this space while the disk is full."""

MAX_SEQUENCE = 2**63 - 1
"""SQLite's largest integer; a request for a page may contain a larger one."""

Migration = Sequence[str]
"""SQL statements that take a database from one version of its schema to the next."""

VERSION_1: Migration = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('epoch', 0), ('next_sequence', 0)",
    """CREATE TABLE jobs (
        job_id TEXT NOT NULL UNIQUE,
        sequence INTEGER PRIMARY KEY,
        client TEXT NOT NULL,
        idempotency_key TEXT,
        state TEXT NOT NULL,
        is_open INTEGER NOT NULL,
        finished_at REAL,
        has_files INTEGER NOT NULL,
        stored_bytes INTEGER NOT NULL,
        record TEXT NOT NULL
    )""",
    # Each index ends with the sequence, the table's primary key, so lists come out in order.
    "CREATE INDEX jobs_of_client ON jobs (client)",
    "CREATE INDEX jobs_in_state ON jobs (state)",
    "CREATE INDEX jobs_of_client_in_state ON jobs (client, state)",
    "CREATE INDEX jobs_by_key ON jobs (client, idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX jobs_open ON jobs (sequence) WHERE is_open",
    "CREATE INDEX jobs_ended ON jobs (finished_at) WHERE NOT is_open",
    "CREATE INDEX jobs_with_files ON jobs (finished_at) WHERE NOT is_open AND has_files",
    "CREATE INDEX jobs_stored ON jobs (client, stored_bytes) WHERE stored_bytes > 0",
)

PARTS_APART: Migration = (
    # The record of a job that an earlier release wrote has its parts inside, until it is written again.
    *(f"CREATE TABLE {part}s (sequence INTEGER PRIMARY KEY, content TEXT NOT NULL)" for part in PARTS),
    # Earlier releases created this table when they first needed it.
    """CREATE TABLE IF NOT EXISTS set_aside (
        job_id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        set_aside_at REAL NOT NULL,
        record BLOB NOT NULL
    )""",
    # The parts of a record that is set aside stay where they are.
    "ALTER TABLE set_aside ADD COLUMN sequence INTEGER",
)

USAGE_COUNTED: Migration = (
    "ALTER TABLE jobs ADD COLUMN keep_until REAL",
    "CREATE INDEX jobs_kept ON jobs (keep_until) WHERE NOT is_open AND keep_until IS NOT NULL",
    f"""CREATE TABLE usage (
        day TEXT NOT NULL,
        client TEXT NOT NULL,
        {", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in AMOUNTS)},
        PRIMARY KEY (client, day)
    ) WITHOUT ROWID""",
    "CREATE INDEX usage_of_day ON usage (day)",
)

MIGRATIONS: tuple[Migration, ...] = (VERSION_1, PARTS_APART, USAGE_COUNTED)

_CLIENT_NOTE = "note about client "
"""The names of notes about clients in the table `meta` begin with it."""
_FIXED = ("job_id", "sequence", "client", "idempotency_key")
_INDEXED = ("state", "is_open", "finished_at", "has_files", "stored_bytes", "keep_until")
_CHANGING = (*_INDEXED, "record")
_PUT = (
    f"INSERT INTO jobs ({', '.join(_FIXED + _CHANGING)}) "
    f"VALUES ({', '.join(f':{name}' for name in _FIXED + _CHANGING)}) "
    f"ON CONFLICT (job_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CHANGING)}"
)
_MORE_USAGE = ", ".join(f"{name} = {name} + excluded.{name}" for name in AMOUNTS)
_ADD_USAGE = (
    f"INSERT INTO usage (day, client, {', '.join(AMOUNTS)}) VALUES (?, ?{', ?' * len(AMOUNTS)}) "
    f"ON CONFLICT (client, day) DO UPDATE SET {_MORE_USAGE}"
)
_SELECT_SHARE = (
    "SELECT CASE WHEN json_valid(record) THEN json_extract(record, '$.job.counted') END "
    "FROM jobs WHERE job_id = ?"
)
_SHARE = TypeAdapter(Counted)
_PUT_PART = {part: f"INSERT OR REPLACE INTO {part}s VALUES (?, ?)" for part in PARTS}
_DELETE_PART = {part: f"DELETE FROM {part}s WHERE sequence = ?" for part in PARTS}
_JOIN_PARTS = " ".join(f"LEFT JOIN {part}s ON {part}s.sequence = kept.sequence" for part in PARTS)
_PARTS = ", ".join(f"CAST({part}s.content AS BLOB)" for part in PARTS)
# As bytes: text that is not UTF-8 would fail the whole query.
_SELECT_JOBS = f"SELECT job_id, CAST(record AS BLOB), {_PARTS} FROM jobs AS kept {_JOIN_PARTS}"
_SELECT_ASIDE = f"SELECT job_id, record, {_PARTS} FROM set_aside AS kept {_JOIN_PARTS}"


class SqliteJobStore:
    """A JobStore with one fsync per write. The file and its folder are created if they are missing.

    Raises StoreError if the file cannot be used, or if a later release wrote it.
    """

    def __init__(self, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self._path = path
        self._records = RecordReader()
        self._written = WrittenParts()
        self._seen = 0
        """`_data_version` when this tracker last read or wrote."""
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite gives its other files the mode of this one. Lyrics and callback URLs are private.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._writer = self._connect()
            try:
                self._prepare(migrations)
                self._epoch, self._is_mine = self._take_over()
                self._seen = self._data_version()
                self._reader = self._connect()
            except BaseException:
                self._writer.close()
                raise

    def write(self, changes: Mapping[str, Job | None]) -> None:
        kept = [job for job in changes.values() if job is not None]
        gone = [job_id for job_id, job in changes.items() if job is None]
        try:
            with self._changing(takes=bool(kept)):
                self._delete(gone)
                self._put(kept)
        except BaseException:
            self._written.forget(changes)
            raise
        self._written.written(changes)

    def check_owner(self) -> None:
        with self._errors(), self._write_lock:
            self._require_owner()

    def get(self, job_id: str) -> Job | None:
        # As bytes, because a client may ask for an id that is no valid text, with half of a surrogate pair.
        found = self._jobs("job_id = CAST(? AS TEXT)", job_id.encode(errors="surrogatepass"))
        return found[0] if found else None

    def get_many(self, job_ids: Collection[str]) -> Mapping[str, Job]:
        found = self._jobs("job_id IN (SELECT value FROM json_each(?))", json.dumps(list(job_ids)))
        return {job.job_id: job for job in found}

    def unsettled_jobs(self) -> Iterator[Job]:
        return iter(self._jobs("is_open ORDER BY kept.sequence"))

    def next_sequence(self) -> int:
        return int(self._meta("next_sequence"))

    def counts(self) -> Mapping[JobState, int]:
        found = dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {state: found.get(state, 0) for state in JobState}

    def stored_bytes(self) -> Mapping[str, int]:
        return dict(
            self._rows("SELECT client, sum(stored_bytes) FROM jobs WHERE stored_bytes > 0 GROUP BY client")
        )

    def find(self, client: str, idempotency_key: str) -> Job | None:
        condition = "client = ? AND idempotency_key = ? ORDER BY kept.sequence DESC LIMIT 1"
        found = self._jobs(condition, client, idempotency_key)
        return found[0] if found else None

    def find_many(self, keys: Collection[ClientKey]) -> Mapping[ClientKey, Job]:
        return {key: job for key in keys if (job := self.find(*key))}

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        wanted = {"client": client, "state": state}
        given = {column: value for column, value in wanted.items() if value is not None}
        conditions = " AND ".join([*(f"{column} = ?" for column in given), "kept.sequence < ?"])
        return self._jobs(
            f"{conditions} ORDER BY kept.sequence DESC LIMIT ?",
            *given.values(),
            max(-1, min(before, MAX_SEQUENCE)),
            limit,
        )

    def ended(self, before: float, with_files: bool, limit: int) -> list[Job]:
        files = "AND has_files" if with_files else ""
        return self._jobs(
            f"NOT is_open {files} AND finished_at < ? ORDER BY finished_at, kept.sequence LIMIT ?",
            before,
            limit,
        )

    def kept_until(self, before: float, limit: int) -> list[Job]:
        # The condition of the index has to stand here, too, or SQLite does not use it.
        return self._jobs(
            "NOT is_open AND keep_until IS NOT NULL AND keep_until < ? ORDER BY keep_until, kept.sequence "
            "LIMIT ?",
            before,
            limit,
        )

    def states(self, first: int, after: int) -> list[tuple[int, str, JobState]]:
        query = (
            "SELECT sequence, job_id, state FROM jobs WHERE sequence >= ? AND sequence < ? ORDER BY sequence"
        )
        rows = self._rows(query, first, after)
        return [(sequence, job_id, JobState(state)) for sequence, job_id, state in rows]

    def usage(self, client: str | None, first: str, last: str) -> Mapping[UsageKey, Usage]:
        rows = self._rows(
            f"SELECT day, client, {', '.join(AMOUNTS)} FROM usage "
            "WHERE day BETWEEN ? AND ? AND client = coalesce(?, client)",
            first,
            last,
            client,
        )
        return {(day, name): Usage(*amounts) for day, name, *amounts in rows}

    def forget_usage(self, before: str) -> None:
        if self._rows("SELECT 1 FROM usage WHERE day < ? LIMIT 1", before):
            with self._changing(takes=False):
                self._writer.execute("DELETE FROM usage WHERE day < ?", (before,))

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        known = self._rows(
            "SELECT job_id FROM jobs WHERE job_id IN (SELECT value FROM json_each(?))",
            json.dumps(list(job_ids)),
        )
        aside = self._rows("SELECT job_id FROM set_aside")
        return set(job_ids) - {job_id for (job_id,) in [*known, *aside]}

    def noted_unreadable(self) -> int:
        return len(self._records.unreadable)

    def set_aside(self) -> list[SetAside]:
        moved = []
        noted = dict(self._records.unreadable)
        with self._changing(takes=True):
            for job_id, reason in noted.items():
                found = self._writer.execute(f"{_SELECT_JOBS} WHERE job_id = ?", (job_id,)).fetchone()
                if found is None or self._records.jobs(_records([found])):
                    continue  # it has been deleted or rewritten
                record = found[1]
                state, sequence = self._writer.execute(
                    "SELECT state, sequence FROM jobs WHERE job_id = ?", (job_id,)
                ).fetchone()
                moved.append(SetAside(job_id, state, reason, record))
                self._writer.execute(
                    "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?, ?, ?, ?)",
                    (job_id, state, reason, time.time(), record, sequence),
                )
                self._writer.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))
        self._written.forget(noted)
        self._records.done(noted)
        return moved

    def aside(self) -> list[SetAside]:
        rows = self._rows("SELECT job_id, state, reason, record FROM set_aside ORDER BY set_aside_at, job_id")
        return [SetAside(*row) for row in rows]

    def take_back(self) -> list[str]:
        # A reader of its own: these records stay where they are if they are still unreadable.
        readable = RecordReader().jobs(_records(self._rows(_SELECT_ASIDE)))
        if readable:
            with self._changing(takes=True):
                self._put(readable, counts=False)  # They were counted before they were set aside.
                ids = [(job.job_id,) for job in readable]
                self._writer.executemany("DELETE FROM set_aside WHERE job_id = ?", ids)
        return [job.job_id for job in readable]

    def secret(self) -> bytes:
        return bytes(self._meta("secret"))

    def mode(self) -> Mode:
        found = self._rows("SELECT value FROM meta WHERE name = 'mode'")
        return Mode(found[0][0]) if found else Mode.OPEN

    def set_mode(self, mode: Mode) -> None:
        with self._changing(takes=True):
            self._writer.execute("INSERT OR REPLACE INTO meta VALUES ('mode', ?)", (mode.value,))

    def client_notes(self) -> Mapping[str, str]:
        rows = self._rows(f"SELECT name, value FROM meta WHERE name GLOB '{_CLIENT_NOTE}*'")
        return {name.removeprefix(_CLIENT_NOTE): note for name, note in rows}

    def note_client(self, client: str, note: str | None) -> None:
        with self._changing(takes=note is not None):
            if note is None:
                self._writer.execute("DELETE FROM meta WHERE name = ?", (_CLIENT_NOTE + client,))
            else:
                self._writer.execute(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)", (_CLIENT_NOTE + client, note)
                )

    def erase_deleted(self) -> bool:
        # `secure_delete` overwrites content in pages; the log has these pages as they were until it is cut.
        with self._errors(), self._write_lock, self._read_lock:
            self._writer.execute(f"PRAGMA busy_timeout = {ERASE_MILLISECONDS}")
            try:
                (is_busy, _, _) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
        return not is_busy

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        # A client that purges a job must be able to rely on it (docs/jobs.md, Purging).
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            connection.close()
            raise StoreError(f"{self._path}: SQLite can't keep a write-ahead log here: use a local disk")
        return connection

    def _prepare(self, migrations: Sequence[Migration]) -> None:
        """Migrate the schema to the newest version; if it has it, nothing is written."""
        newest = len(migrations)
        with self._transaction():
            (version,) = self._writer.execute("PRAGMA user_version").fetchone()
            if version > newest:
                raise StoreError(newer_version(str(self._path), version, newest))
            if version == newest:
                return
            for migration in migrations[version:]:
                for statement in migration:
                    self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version = {newest}")
            self._writer.execute(
                "INSERT OR IGNORE INTO meta VALUES ('secret', ?)", (secrets.token_bytes(SECRET_BYTES),)
            )

    def _take_over(self) -> tuple[int, bool]:
        """Take the store over from any other tracker; return (epoch, whether this tracker owns the store).

        If the disk is full, it does not yet: then the first write of a record takes the store over.
        """
        try:
            with self._transaction():
                return self._next_epoch(), True
        except sqlite3.Error as error:
            logger.warning("%s: the job store can be read and not written yet: %s", self._path, error)
        (epoch,) = self._writer.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        return int(epoch), False

    def _next_epoch(self) -> int:
        update = "UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value"
        (epoch,) = self._writer.execute(update).fetchone()
        return int(epoch)

    def _data_version(self) -> int:
        """Return a number that changes when another process has written."""
        (version,) = self._writer.execute("PRAGMA data_version").fetchone()
        return int(version)

    @contextmanager
    def _changing(self, takes: bool) -> Iterator[None]:
        """Make one transaction of the tracker that owns the store; `takes`: it may take the store over."""
        with self._errors(), self._write_lock:
            with self._transaction():
                epoch, is_mine = self._epoch, self._is_mine
                if not self._require_owner():
                    self._written.forget_all()
                    self._seen = self._data_version()
                if takes and not is_mine:
                    epoch, is_mine = self._next_epoch(), True
                yield
            self._epoch, self._is_mine = epoch, is_mine

    def _require_owner(self) -> bool:
        """Return whether nobody else has written since this tracker last did.

        Raises StoreTakenError or StoreReplacedError if this tracker may not write.
        """
        (stored,) = self._writer.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        is_as_read = self._data_version() == self._seen
        check_owner(str(self._path), stored, self._epoch, self._is_mine, is_as_read)
        return is_as_read

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _meta(self, name: str) -> Any:
        ((value,),) = self._rows("SELECT value FROM meta WHERE name = ?", name)
        return value

    def _put(self, jobs: Sequence[Job], counts: bool = True) -> None:
        """Insert or replace jobs. Parts that the store has are not written again.

        `counts`: their shares in the usage may be new.
        """
        if not jobs:
            return
        for job in jobs:
            known = self._written.known(job.job_id)
            stored = None if known else self._writer.execute(_SELECT_SHARE, (job.job_id,)).fetchone()
            if counts:
                self._count(job, known.counted if known else _share(stored))
            self._put_record(job, known)
            for part, content in parts_to_json(job, self._written.changed(job)).items():
                if content is not None:
                    self._writer.execute(_PUT_PART[part], (job.place.sequence, content))
                elif known or stored:
                    self._writer.execute(_DELETE_PART[part], (job.place.sequence,))
        self._writer.execute(
            "UPDATE meta SET value = :next WHERE name = 'next_sequence' AND value < :next",
            {"next": max(job.place.sequence for job in jobs) + 1},
        )

    def _count(self, job: Job, before: Counted | None) -> None:
        """Add to the usage what a job's share differs from the one in its stored record."""
        for (day, client), more in added_by(job.client, before, job.counted).items():
            self._writer.execute(_ADD_USAGE, (day, client, *more.amounts))

    def _put_record(self, job: Job, known: Job | None) -> None:
        """Insert or replace a record, and touch only those indexes whose columns change."""
        row = _row(job) | {"record": record_to_json(job).decode()}
        if known is None:
            self._writer.execute(_PUT, row)
            return
        before = _row(known)
        changed = [name for name in _INDEXED if row[name] != before[name]]
        columns = ", ".join(f"{name} = :{name}" for name in [*changed, "record"])
        self._writer.execute(f"UPDATE jobs SET {columns} WHERE sequence = :sequence", row)

    def _delete(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            deleted = "DELETE FROM jobs WHERE job_id = ? RETURNING sequence"
            for row in self._writer.execute(deleted, (job_id,)).fetchall():
                for delete_part in _DELETE_PART.values():
                    self._writer.execute(delete_part, row)

    def _jobs(self, condition: str, *values: Any) -> list[Job]:
        return self._records.jobs(_records(self._rows(f"{_SELECT_JOBS} WHERE {condition}", *values)))

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._errors(), self._read_lock:
            return self._reader.execute(query, values).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self._path}: {error}") from error


def _share(row: tuple[Any] | None) -> Counted | None:
    """Return the share in a row of `_SELECT_SHARE`; None without a row or a share."""
    return None if row is None or row[0] is None else _SHARE.validate_json(row[0])


def _row(job: Job) -> dict[str, Any]:
    """Return the columns of a job except the record."""
    return {
        "job_id": job.job_id,
        "sequence": job.place.sequence,
        "client": job.client,
        "idempotency_key": job.idempotency.key if job.idempotency else None,
        "state": job.state.value,
        "is_open": not job.is_settled,
        "finished_at": job.finished_at,
        "has_files": bool(job.files),
        "stored_bytes": job.stored_bytes,
        "keep_until": job.keep_until,
    }


def _records(rows: Iterable[Any]) -> Iterator[tuple[str, bytes, dict[str, bytes | None]]]:
    """Yield (job id, record, parts) of the rows of `_SELECT_JOBS`."""
    return ((job_id, record, dict(zip(PARTS, parts, strict=True))) for job_id, record, *parts in rows)
