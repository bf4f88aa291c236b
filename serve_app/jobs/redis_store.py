"""Records in Redis: for clusters, where the tracker may come back on another machine."""

import logging
import os
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
from serve_app.jobs.records import job_from_json, job_to_json, newer_version
from serve_app.jobs.redis_keys import Keys
from serve_app.jobs.store import SECRET_BYTES, TAKEN_OVER, StoreError

logger = logging.getLogger("ray.serve")

TIMEOUT_SECONDS = 5.0
"""For connecting and for each answer, where the URL says nothing else (`?socket_timeout=`)."""
PASSWORD_VARIABLE = "ACESTEP_REDIS_PASSWORD"
DEFAULT_PREFIX = "acestep"
OPEN_JOBS_AT_ONCE = 500

NOT_DURABLE = (
    "%s: jobs that were accepted can be lost where Redis or its machine crashes: set `appendonly yes` and "
    "`appendfsync always` (it has appendonly %s, appendfsync %s)"
)
UNKNOWN_DURABILITY = (
    "%s does not tell whether it survives a crash (%s): it must have `appendonly yes`, `appendfsync always`"
)


Migration = Callable[["redis.Redis", Keys], None]
"""Takes the keys from one version to the next; it may be stopped anywhere, and is then run again."""

MIGRATIONS: tuple[Migration, ...] = ()
"""From version 1 to 2, from 2 to 3 …"""


class RedisJobStore:
    """A JobStore. A write is one transaction (MULTI); it is durable where Redis syncs its file at each.

    `url` is redis-py's, and may have `?prefix=`. Raises StoreError where Redis is out of reach or a later
    release wrote the records.
    """

    def __init__(self, url: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        url, self._keys, self._location = _parts(url)
        self._closed = False
        self._write_lock = threading.Lock()
        with self._errors():
            self._redis = self._connect(url)
            self._epoch = self._prepare(migrations)
            self._warn_unless_durable()

    def write(self, changes: Mapping[str, Job | None]) -> None:
        records = {job_id: job and job_to_json(job) for job_id, job in changes.items()}
        if not records:
            return
        with self._write_lock, self._errors(), self._redis.pipeline() as pipe:
            next_sequence = self._watched_meta(pipe, "next_sequence")
            earlier = pipe.hmget(self._keys.records, list(records))
            pipe.multi()
            for (job_id, job), old in zip(changes.items(), earlier, strict=True):
                self._move(pipe, job_id, job_from_json(old) if old else None, job)
                if record := records[job_id]:
                    pipe.hset(self._keys.records, job_id, record)
                else:
                    pipe.hdel(self._keys.records, job_id)
            following = [job.place.sequence + 1 for job in changes.values() if job]
            pipe.hset(self._keys.meta, "next_sequence", max(int(next_sequence or 0), *following, 0))
            pipe.execute()

    def get(self, job_id: str) -> Job | None:
        with self._errors():
            record = self._redis.hget(self._keys.records, job_id)
        return job_from_json(record) if record else None

    def open_jobs(self) -> Iterator[Job]:
        with self._errors():
            job_ids = self._redis.zrange(self._keys.open, 0, -1)
        for start in range(0, len(job_ids), OPEN_JOBS_AT_ONCE):
            yield from self._jobs(job_ids[start : start + OPEN_JOBS_AT_ONCE])

    def next_sequence(self) -> int:
        with self._errors():
            return int(self._redis.hget(self._keys.meta, "next_sequence") or 0)

    def counts(self) -> Mapping[JobState, int]:
        with self._errors(), self._redis.pipeline() as pipe:
            for state in JobState:
                pipe.zcard(self._keys.line(None, state))
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
        with self._errors():
            newest = self._redis.zrange(self._keys.idempotency(client, idempotency_key), 0, 0, desc=True)
        found = self._jobs(newest)
        return found[0] if found else None

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        with self._errors():
            job_ids = self._redis.zrange(
                self._keys.line(client, state),
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

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hexists(self._keys.records, job_id)
            known = pipe.execute()
        return {job_id for job_id, is_known in zip(job_ids, known, strict=True) if not is_known}

    def secret(self) -> bytes:
        with self._errors():
            secret: Any = self._redis.hget(self._keys.meta, "secret")
        return bytes(secret)

    def mode(self) -> Mode:
        with self._errors():
            mode: Any = self._redis.hget(self._keys.meta, "mode")
        return Mode(mode.decode()) if mode else Mode.OPEN

    def set_mode(self, mode: Mode) -> None:
        with self._write_lock, self._errors(), self._redis.pipeline() as pipe:
            self._watched_meta(pipe, "mode")
            pipe.multi()
            pipe.hset(self._keys.meta, "mode", mode.value)
            pipe.execute()

    def close(self) -> None:
        with self._write_lock:
            self._closed = True
            self._redis.close()

    def _connect(self, url: str) -> redis.Redis:
        try:
            client = redis.Redis.from_url(
                url,
                # Where the URL has none: settings are no place for secrets.
                password=os.environ.get(PASSWORD_VARIABLE),
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                # Once more, for connections that Redis has closed meanwhile.
                retry=Retry(NoBackoff(), 1),
                # Anybody may ask for an id that is no valid text, with half of a surrogate pair.
                encoding_errors="surrogatepass",
            )
            client.ping()
        except (TypeError, ValueError) as error:  # for an option that redis-py does not know, or can't read
            raise StoreError(f"{self._location}: jobs.store is not the URL of a Redis: {error}") from error
        return client

    def _prepare(self, migrations: Sequence[Migration]) -> bytes:
        """Bring the keys up to date and take over from whoever has the store open; the new epoch."""
        newest = len(migrations) + 1
        version = int(self._redis.hget(self._keys.meta, "version") or newest)
        if version > newest:
            raise StoreError(newer_version(self._location, version, newest))
        epoch = self._redis.hincrby(self._keys.meta, "epoch", 1)
        for number, migration in enumerate(migrations[version - 1 :], start=version):
            migration(self._redis, self._keys)
            self._redis.hset(self._keys.meta, "version", number + 1)
        self._redis.hset(self._keys.meta, "version", newest)
        self._redis.hsetnx(self._keys.meta, "secret", secrets.token_bytes(SECRET_BYTES))
        return str(epoch).encode()

    def _warn_unless_durable(self) -> None:
        try:
            config = self._redis.config_get("appendonly", "appendfsync")
        except redis.ResponseError as error:
            logger.warning(UNKNOWN_DURABILITY, self._location, error)
            return
        file, sync = config.get("appendonly"), config.get("appendfsync")
        if (file, sync) != ("yes", "always"):
            logger.warning(NOT_DURABLE, self._location, file, sync)

    def _watched_meta(self, pipe: Pipeline, name: str) -> Any:
        """One value of the meta hash, which is still so when the transaction is carried out, or it is not.

        Raises StoreError where the store is another tracker's meanwhile.
        """
        pipe.watch(self._keys.meta)
        epoch, value = pipe.hmget(self._keys.meta, ["epoch", name])
        if epoch != self._epoch:
            raise StoreError(TAKEN_OVER.format(store=self._location))
        return value

    def _move(self, pipe: Pipeline, job_id: str, old: Job | None, new: Job | None) -> None:
        """From the sorted sets of its earlier record into those of its new one."""
        left, entered = (self._keys.of(job) if job else {} for job in (old, new))
        for key in left.keys() - entered.keys():
            pipe.zrem(key, job_id)
        for key, score in entered.items() - left.items():
            pipe.zadd(key, {job_id: score})
        if new and new.stored_bytes:
            pipe.hset(self._keys.stored, job_id, f"{new.stored_bytes} {new.client}")
        elif old and old.stored_bytes:
            pipe.hdel(self._keys.stored, job_id)

    def _jobs(self, job_ids: Sequence[Any]) -> list[Job]:
        """The records of some ids; those that were deleted since their ids were listed are left out."""
        if not job_ids:
            return []
        with self._errors():
            records = self._redis.hmget(self._keys.records, list(job_ids))
        return [job_from_json(record) for record in records if record]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._closed:
            raise StoreError(f"{self._location}: the store is closed")
        try:
            yield
        except redis.RedisError as error:
            raise StoreError(f"{self._location}: {error}") from error


def _parts(url: str) -> tuple[str, Keys, str]:
    """The URL as redis-py takes it, the names of the keys, and what a log may say."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    keys = Keys(options.pop("prefix", DEFAULT_PREFIX))
    location = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
    return parts._replace(query=urlencode(options)).geturl(), keys, location
