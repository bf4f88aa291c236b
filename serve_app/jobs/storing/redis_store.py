"""The job store in Redis: for clusters, where the tracker may restart on another machine."""

import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.storing.parts import PARTS, WrittenParts
from serve_app.jobs.storing.records import (
    Parts,
    RecordReader,
    newer_version,
    parts_to_json,
    record_to_json,
)
from serve_app.jobs.storing.redis_keys import Keys
from serve_app.jobs.storing.store import (
    REPLACED,
    SECRET_BYTES,
    ClientKey,
    SetAside,
    StoreError,
    StoreReplacedError,
    changes_of,
    check_owner,
)
from serve_app.jobs.usage import AMOUNTS, Usage, UsageKey

logger = logging.getLogger("ray.serve")

TIMEOUT_SECONDS = 5.0
"""Time-out of connecting and of each answer, unless the URL sets another (`?socket_timeout=`)."""
PASSWORD_VARIABLE = "ACESTEP_REDIS_PASSWORD"
DEFAULT_PREFIX = "acestep"
JOBS_AT_ONCE = 500
"""Records of one read: more of them would keep Redis busy, and exceed the arguments of a script."""

NOT_DURABLE = (
    "%s: jobs that were accepted can be lost where Redis or its machine crashes: set `appendonly yes` and "
    "`appendfsync always` (it has appendonly %s, appendfsync %s)"
)
UNKNOWN_DURABILITY = (
    "%s does not tell whether it survives a crash (%s): it must have `appendonly yes`, `appendfsync always`"
)

DELETE = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
for i = 2, #KEYS do redis.call(ARGV[2 * i - 2], KEYS[i], ARGV[2 * i - 1]) end
return 1
"""
"""Lua: makes removals if the epoch is still the one that was read."""

READ = """
local found = {}
for i = 1, #KEYS do found[i] = redis.call('HMGET', KEYS[i], unpack(ARGV)) end
return found
"""
"""Lua: reads the same fields of several hashes as they are at one moment, even if Redis is full."""

Migration = Callable[["redis.Redis", Keys], None]
"""Converts the keys from one version to the next. It may be interrupted anywhere, and is then run again."""


def _parts_apart(_client: redis.Redis, _keys: Keys) -> None:
    """Convert nothing: a record of version 1 has its parts inside, until its job is written again."""


def _usage_counted(_client: redis.Redis, _keys: Keys) -> None:
    """Convert nothing: the usage begins with the first end of a job in this version."""


MIGRATIONS: tuple[Migration, ...] = (_parts_apart, _usage_counted)
"""From version 1 to 2, from 2 to 3 …"""


class RedisJobStore:
    """A JobStore. A write is one transaction (MULTI); it is durable if Redis syncs its file after each.

    `url` is redis-py's, and may have `?prefix=`. Raises StoreError if Redis is out of reach, or if a later
    release wrote the records.
    """

    def __init__(self, url: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        url, self._keys, self._location = _parts(url)
        self._closed = False
        self._records = RecordReader()
        self._written = WrittenParts()
        self._seen = 0
        """Number of the store's writes when this tracker last read or wrote."""
        self._name = secrets.token_hex(8)
        """By this name the tracker knows that it has taken the store over, if that write was not answered."""
        self._write_lock = threading.Lock()
        self._keeps_a_log = True
        """Whether Redis has an append-only file, as far as is known."""
        with self._errors():
            self._redis = self._connect(url)
            self._prepare(migrations)
            self._epoch, self._is_mine = self._take_over()
            self._warn_unless_durable()

    def write(self, changes: Mapping[str, Job | None]) -> None:
        if not changes:
            return
        try:
            if any(changes.values()):
                self._write(changes)
            else:
                self._delete(list(changes))
        except BaseException:
            self._written.forget(changes)
            raise
        self._written.written(changes)

    def check_owner(self) -> None:
        with self._write_lock, self._errors():
            self._owned_meta(self._redis)

    def get(self, job_id: str) -> Job | None:
        return self.get_many([job_id]).get(job_id)

    def get_many(self, job_ids: Collection[str]) -> Mapping[str, Job]:
        return {job.job_id: job for job in self._jobs(list(job_ids))}

    def unsettled_jobs(self) -> Iterator[Job]:
        with self._errors():
            job_ids = self._redis.zrange(self._keys.open, 0, -1)
        for start in range(0, len(job_ids), JOBS_AT_ONCE):
            yield from self._jobs(job_ids[start : start + JOBS_AT_ONCE])

    def next_sequence(self) -> int:
        with self._errors():
            return int(self._redis.hget(self._keys.meta, "next_sequence") or 0)

    def counts(self) -> Mapping[JobState, int]:
        # This is no transaction, because a full Redis refuses every command after MULTI.
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            for state in JobState:
                pipe.zcard(self._keys.jobs(None, state))
            return dict(zip(JobState, pipe.execute(), strict=True))

    def stored_bytes(self) -> Mapping[str, int]:
        with self._errors():
            entries: list[Any] = self._redis.hvals(self._keys.stored)
        found: dict[str, int] = {}
        for entry in entries:
            byte_count, client = entry.decode().split(" ", maxsplit=1)
            found[client] = found.get(client, 0) + int(byte_count)
        return found

    def find(self, client: str, idempotency_key: str) -> Job | None:
        return self.find_many([(client, idempotency_key)]).get((client, idempotency_key))

    def find_many(self, keys: Collection[ClientKey]) -> Mapping[ClientKey, Job]:
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.zrange(self._keys.idempotency(*key), 0, 0, desc=True)
            newest = {key: ids[0].decode() for key, ids in zip(keys, pipe.execute(), strict=True) if ids}
        jobs = self.get_many(newest.values())
        return {key: jobs[job_id] for key, job_id in newest.items() if job_id in jobs}

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        with self._errors():
            job_ids = self._redis.zrange(
                self._keys.jobs(client, state),
                f"({before}",
                "-inf",
                desc=True,
                byscore=True,
                offset=0,
                num=limit,
            )
        return self._jobs(job_ids)

    def ended(self, before: float, with_files: bool, limit: int) -> list[Job]:
        with self._errors():
            job_ids = self._redis.zrange(
                self._keys.ended(with_files), "-inf", f"({before!r}", byscore=True, offset=0, num=limit
            )
        return self._jobs(job_ids)

    def kept_until(self, before: float, limit: int) -> list[Job]:
        with self._errors():
            job_ids = self._redis.zrange(
                self._keys.kept, "-inf", f"({before!r}", byscore=True, offset=0, num=limit
            )
        return self._jobs(job_ids)

    def states(self, first: int, after: int) -> list[tuple[int, str, JobState]]:
        # This is no transaction, because a full Redis refuses every command after MULTI. A job whose state
        # changes meanwhile may be found in two sets; then the later state of the two counts.
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            for state in JobState:
                pipe.zrange(self._keys.jobs(None, state), first, f"({after}", byscore=True, withscores=True)
            found = zip(JobState, pipe.execute(), strict=True)
        newest = {
            job_id.decode(): (int(sequence), state)
            for state, members in found
            for job_id, sequence in members
        }
        return sorted((sequence, job_id, state) for job_id, (sequence, state) in newest.items())

    def usage(self, client: str | None, first: str, last: str) -> Mapping[UsageKey, Usage]:
        found: dict[UsageKey, dict[str, int]] = {}
        with self._errors():
            for day in self._usage_days(f"[{first}", f"[{last}"):
                for name, of_client, amount in self._amounts(day, client):
                    found.setdefault((day, of_client), {})[name] = amount
        return {key: Usage(**amounts) for key, amounts in found.items()}

    def _amounts(self, day: str, client: str | None) -> Iterator[tuple[str, str, int]]:
        """Yield (name, client, amount) of a day."""
        if client is None:
            every: dict[Any, Any] = self._redis.hgetall(self._keys.usage(day))
            for word, amount in every.items():
                name, _, of_client = word.decode(errors="surrogatepass").partition(" ")
                yield name, of_client, int(amount)
            return
        some: list[Any] = self._redis.hmget(self._keys.usage(day), [f"{name} {client}" for name in AMOUNTS])
        for name, amount in zip(AMOUNTS, some, strict=True):
            if amount is not None:
                yield name, client, int(amount)

    def _usage_days(self, first: str, last: str) -> list[str]:
        """Return the days in a range, whose ends are written as in ZRANGEBYLEX."""
        days: Any = self._redis.zrangebylex(self._keys.usage_days, first, last)
        return [day.decode() for day in days]

    def forget_usage(self, before: str) -> None:
        with self._errors():
            old = self._usage_days("-", f"({before}")
        if old:
            with self._changing() as (pipe, _):
                pipe.multi()
                pipe.delete(*map(self._keys.usage, old))
                pipe.zrem(self._keys.usage_days, *old)

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hexists(self._keys.records, job_id)
                pipe.hexists(self._keys.set_aside, job_id)
            known = pipe.execute()
        return {
            job_id
            for job_id, is_job, is_aside in zip(job_ids, known[::2], known[1::2], strict=True)
            if not is_job and not is_aside
        }

    def noted_unreadable(self) -> int:
        return len(self._records.unreadable)

    def set_aside(self) -> list[SetAside]:
        noted = dict(self._records.unreadable)
        moved = [kept for job_id, reason in noted.items() if (kept := self._set_one_aside(job_id, reason))]
        self._records.done(noted)
        return moved

    def aside(self) -> list[SetAside]:
        with self._errors():
            records: dict[Any, Any] = self._redis.hgetall(self._keys.set_aside)
            reasons: dict[Any, Any] = self._redis.hgetall(self._keys.set_aside_reasons)
        return [
            SetAside(job_id.decode(), record=records[job_id], **json.loads(why))
            for job_id, why in sorted(reasons.items())
            if job_id in records
        ]

    def take_back(self) -> list[str]:
        kept = [one.job_id for one in self.aside()]
        with self._errors():
            found = self._read_records(self._redis, self._keys.set_aside, kept)
        # A reader of its own: these records stay where they are if they are still unreadable.
        readable: dict[str, Job | None] = {job.job_id: job for job in RecordReader().jobs(found)}
        if readable:
            self._write(readable, counts=False)  # They were counted before they were set aside.
            self._written.written(readable)
            with self._changing() as (pipe, _):
                pipe.multi()
                pipe.hdel(self._keys.set_aside, *readable)
                pipe.hdel(self._keys.set_aside_reasons, *readable)
        return list(readable)

    def secret(self) -> bytes:
        with self._errors():
            secret: Any = self._redis.hget(self._keys.meta, "secret")
        if secret is None:
            raise StoreReplacedError(REPLACED.format(store=self._location))
        return bytes(secret)

    def mode(self) -> Mode:
        with self._errors():
            mode: Any = self._redis.hget(self._keys.meta, "mode")
        return Mode(mode.decode()) if mode else Mode.OPEN

    def set_mode(self, mode: Mode) -> None:
        with self._changing() as (pipe, _):
            pipe.multi()
            pipe.hset(self._keys.meta, "mode", mode.value)

    def client_notes(self) -> Mapping[str, str]:
        with self._errors():
            notes: Any = self._redis.hgetall(self._keys.client_notes)
        return {client.decode(): note.decode() for client, note in notes.items()}

    def note_client(self, client: str, note: str | None) -> None:
        with self._changing() as (pipe, _):
            pipe.multi()
            if note is None:
                pipe.hdel(self._keys.client_notes, client)
            else:
                pipe.hset(self._keys.client_notes, client, note)

    def erase_deleted(self) -> bool:
        if not self._keeps_a_log:
            return True
        try:
            with self._errors():
                self._redis.bgrewriteaof()
        except StoreError as error:
            if isinstance(error.__cause__, redis.ResponseError):
                # A rewrite is under way, which may have begun before the deletion; or Redis allows none.
                is_refused = "progress" not in str(error)
                if is_refused:
                    logger.warning("%s: deleted jobs stay in its append-only file", error)
                return is_refused
            raise
        return True

    def close(self) -> None:
        with self._write_lock:
            self._closed = True
            self._redis.close()

    def _connect(self, url: str) -> redis.Redis:
        try:
            client = redis.Redis.from_url(
                url,
                # The URL has none, because settings must not hold secrets.
                password=os.environ.get(PASSWORD_VARIABLE),
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                # One retry, for connections that Redis has closed meanwhile.
                retry=Retry(NoBackoff(), 1),
                # A client may ask for an id that is no valid text, with half of a surrogate pair.
                encoding_errors="surrogatepass",
            )
            client.ping()
        except (TypeError, ValueError) as error:  # an option that redis-py does not know or cannot parse
            raise StoreError(f"{self._location}: jobs.store is not the URL of a Redis: {error}") from error
        return client

    def _prepare(self, migrations: Sequence[Migration]) -> None:
        """Migrate the keys to the newest version; if they have it, nothing is written."""
        newest = len(migrations) + 1
        found: list[Any] = self._redis.hmget(self._keys.meta, ["version", "secret"])
        version = int(found[0] or newest)
        if version > newest:
            raise StoreError(newer_version(self._location, version, newest))
        for number, migration in enumerate(migrations[version - 1 :], start=version):
            migration(self._redis, self._keys)
            self._redis.hset(self._keys.meta, "version", number + 1)
        if found[0] is None:
            self._redis.hset(self._keys.meta, "version", newest)
        if found[1] is None:
            self._redis.hsetnx(self._keys.meta, "secret", secrets.token_bytes(SECRET_BYTES))

    def _take_over(self) -> tuple[int, bool]:
        """Take the store over from any other tracker; return (epoch, whether this tracker owns the store).

        If Redis is full, it does not yet: then the first write of a record takes the store over.
        """
        try:
            return self._redis.hincrby(self._keys.meta, "epoch", 1), True
        except redis.ResponseError as error:
            logger.warning("%s: the job store can be read and not written yet: %s", self._location, error)
        found: list[Any] = self._redis.hmget(self._keys.meta, ["epoch", "writes"])
        epoch, self._seen = (int(number or 0) for number in found)
        return epoch, False

    @contextmanager
    def _changing(self) -> Iterator[tuple[Pipeline, int]]:
        """Make one transaction, which may also take the store over; yield it with `next_sequence`.

        The caller reads what it needs, calls `multi` and adds its commands. None of them is executed if
        another tracker has taken the store over, or writes to it meanwhile.
        """
        with self._write_lock, self._errors(), self._redis.pipeline() as pipe:
            pipe.watch(self._keys.meta)
            _, writes, next_sequence = self._owned_meta(pipe)
            yield pipe, next_sequence
            epoch = self._epoch if self._is_mine else self._epoch + 1
            meta: dict[Any, Any] = {"epoch": epoch, "writes": writes + 1}
            if not self._is_mine:
                meta["taken_by"] = self._name
            pipe.hset(self._keys.meta, mapping=meta)
            pipe.execute()
            self._epoch, self._is_mine, self._seen = epoch, True, writes + 1

    def _owned_meta(self, client: redis.Redis) -> tuple[int, int, int]:
        """Return (epoch, writes, next sequence). Raises StoreError if this tracker may not write."""
        found: list[Any] = client.hmget(self._keys.meta, ["epoch", "writes", "next_sequence", "taken_by"])
        epoch, writes, next_sequence = (int(number or 0) for number in found[:3])
        if not self._is_mine and epoch == self._epoch + 1 and found[3] == self._name.encode():
            self._epoch, self._is_mine = epoch, True
        check_owner(self._location, epoch, self._epoch, self._is_mine, is_as_read=writes == self._seen)
        if writes != self._seen:
            self._written.forget_all()  # after a failover Redis may lack our last writes
        return epoch, writes, next_sequence

    def _warn_unless_durable(self) -> None:
        try:
            config = self._redis.config_get("appendonly", "appendfsync")
        except redis.ResponseError as error:
            logger.warning(UNKNOWN_DURABILITY, self._location, error)
            return
        file, sync = config.get("appendonly"), config.get("appendfsync")
        self._keeps_a_log = file == "yes"
        if (file, sync) != ("yes", "always"):
            logger.warning(NOT_DURABLE, self._location, file, sync)

    def _write(self, changes: Mapping[str, Job | None], counts: bool = True) -> None:
        """Write records, of which at least one is inserted or replaced.

        `counts`: their shares in the usage may be new.
        """
        with self._changing() as (pipe, next_sequence):
            earlier = self._earlier(pipe, list(changes))
            pipe.multi()
            for job_id, job in changes.items():
                self._move(pipe, job_id, earlier.get(job_id), job)
                if job is None:
                    self._remove(pipe, job_id)
                else:
                    self._put(pipe, job)
                    if counts:
                        self._count(pipe, changes_of(earlier.get(job_id), job))
            after = max(job.place.sequence for job in changes.values() if job) + 1
            if after > next_sequence:
                pipe.hset(self._keys.meta, "next_sequence", after)

    def _count(self, pipe: Pipeline, added: Mapping[UsageKey, Usage]) -> None:
        for (day, client), more in added.items():
            pipe.zadd(self._keys.usage_days, {day: 0})
            for name, amount in zip(AMOUNTS, more.amounts, strict=True):
                if amount:
                    pipe.hincrby(self._keys.usage(day), f"{name} {client}", amount)

    def _put(self, pipe: Pipeline, job: Job) -> None:
        """Insert or replace a record. Parts that the store has are not written again."""
        pipe.hset(self._keys.records, job.job_id, record_to_json(job))
        for part, content in parts_to_json(job, self._written.changed(job)).items():
            if content is None:
                pipe.hdel(self._keys.part(part), job.job_id)
            else:
                pipe.hset(self._keys.part(part), job.job_id, content)

    def _remove(self, pipe: Pipeline, job_id: str) -> None:
        for key in self._hashes:
            pipe.hdel(key, job_id)

    @property
    def _hashes(self) -> list[str]:
        """The hashes with the record and the parts of each job."""
        return [self._keys.records, *map(self._keys.part, PARTS)]

    def _earlier(self, client: redis.Redis, job_ids: Sequence[str]) -> dict[str, Job]:
        """Return the jobs to be replaced. Unreadable ones are removed from every sorted set."""
        found = {job_id: job for job_id in job_ids if (job := self._written.known(job_id))}
        unknown = [job_id for job_id in job_ids if job_id not in found]
        for job_id, record, parts in self._read_records(client, self._keys.records, unknown):
            if job := self._records.job(job_id, record, parts):
                found[job_id] = job
            else:
                self._take_out(job_id)
                self._records.done([job_id])
        return found

    def _set_one_aside(self, job_id: str, reason: str) -> SetAside | None:
        """Move one record; None if it has been deleted or rewritten."""
        self._written.forget([job_id])
        with self._changing() as (pipe, _):
            found = self._read_records(pipe, self._keys.records, [job_id])
            readable = not found or self._records.jobs(found)
            state = "" if readable else self._state_of(job_id)
            pipe.multi()
            if readable:
                return None
            record = found[0][1]
            pipe.hset(self._keys.set_aside, job_id, record)
            why = json.dumps({"state": state, "reason": reason})
            pipe.hset(self._keys.set_aside_reasons, job_id, why)
            pipe.hdel(self._keys.records, job_id)
            pipe.hdel(self._keys.stored, job_id)
        self._take_out(job_id)
        return SetAside(job_id, state, reason, record)

    def _state_of(self, job_id: str) -> str:
        """Return the state that a job is listed under; "" if it is in no list."""
        for state in JobState:
            if self._redis.zscore(self._keys.jobs(None, state), job_id) is not None:
                return state.value
        return ""

    def _take_out(self, job_id: str) -> None:
        """Remove an id from all sorted sets. Only its record, which is unreadable, tells which have it."""
        for key in self._redis.scan_iter(match=f"{glob_escaped(self._keys.prefix)}:*", _type="ZSET"):
            self._redis.zrem(key, job_id)

    def _move(self, pipe: Pipeline, job_id: str, old: Job | None, new: Job | None) -> None:
        """Move a job from the sorted sets of its old record to those of its new one."""
        left, entered = (self._keys.of(job) if job else {} for job in (old, new))
        for key in left.keys() - entered.keys():
            pipe.zrem(key, job_id)
        for key, score in entered.items() - left.items():
            pipe.zadd(key, {job_id: score})
        if new and new.stored_bytes:
            pipe.hset(self._keys.stored, job_id, f"{new.stored_bytes} {new.client}")
        elif old and old.stored_bytes:
            pipe.hdel(self._keys.stored, job_id)

    def _delete(self, job_ids: Sequence[str]) -> None:
        """Delete records: all or none, even if Redis is full.

        A full Redis refuses every command between MULTI and EXEC, even those that free memory, but it
        executes them in a script.
        """
        with self._write_lock, self._errors():
            epoch, *_ = self._owned_meta(self._redis)
            earlier = self._earlier(self._redis, job_ids)
            sets = {job_id: self._keys.of(job) for job_id, job in earlier.items()}
            hashes = [self._keys.stored, *self._hashes]
            removals = [
                removal
                for job_id in job_ids
                for removal in [
                    *(("ZREM", key, job_id) for key in sets.get(job_id, ())),
                    *(("HDEL", key, job_id) for key in hashes),
                ]
            ]
            keys = [self._keys.meta, *(key for _, key, _ in removals)]
            values: list[Any] = [
                epoch,
                *(word for command, _, job_id in removals for word in (command, job_id)),
            ]
            if not self._redis.eval(DELETE, len(keys), *keys, *values):
                raise StoreError(f"{self._location}: another job tracker has opened this store meanwhile")

    def _jobs(self, job_ids: Sequence[Any]) -> list[Job]:
        """Return the records of some ids, without those that were deleted since the ids were listed."""
        with self._errors():
            return self._records.jobs(self._read_records(self._redis, self._keys.records, job_ids))

    def _read_records(
        self, client: redis.Redis, records: str, job_ids: Sequence[Any]
    ) -> list[tuple[str, bytes, Parts]]:
        """Return (job id, record, parts) of those ids that have a record in a hash."""
        keys = [records, *map(self._keys.part, PARTS)]
        found: list[tuple[str, bytes, Parts]] = []
        for start in range(0, len(job_ids), JOBS_AT_ONCE):
            some = job_ids[start : start + JOBS_AT_ONCE]
            stored: list[Any] = client.eval(READ, len(keys), *keys, *some)
            names = (job_id.decode() if isinstance(job_id, bytes) else job_id for job_id in some)
            found += (
                (name, record, dict(zip(PARTS, parts, strict=True)))
                for name, record, *parts in zip(names, *stored, strict=True)
                if record is not None
            )
        return found

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._closed:
            raise StoreError(f"{self._location}: the store is closed")
        try:
            yield
        except redis.RedisError as error:
            raise StoreError(f"{self._location}: {error}") from error


def _parts(url: str) -> tuple[str, Keys, str]:
    """Return the URL for redis-py, the names of the keys, and the URL without its user and password."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    keys = Keys(options.pop("prefix", DEFAULT_PREFIX))
    # `geturl` is not used, because it drops the slashes of `unix://`, a scheme that it does not know.
    begin, path = f"{parts.scheme}://", parts.path
    location = f"{begin}{parts.netloc.rpartition('@')[2]}{path}"
    return f"{begin}{parts.netloc}{path}?{urlencode(options)}".removesuffix("?"), keys, location


def glob_escaped(text: str) -> str:
    """Return a Redis pattern that matches this text only."""
    return re.sub(r"([\\*?\[\]^])", r"\\\1", text)
