"""Rules of the Redis store alone: its keys through the releases, and warnings about unsafe settings."""

import logging
from collections.abc import Callable
from contextlib import closing

import pytest
import redis
from pydantic import ValidationError
from redis.client import Pipeline

from configs.settings import Settings
from serve_app.jobs.model import IdempotencyKey
from serve_app.jobs.storing.redis_keys import Keys
from serve_app.jobs.storing.redis_store import MIGRATIONS, RedisJobStore
from serve_app.jobs.storing.store import StoreError, StoreReplacedError, StoreTakenError
from serve_app.jobs.storing.stores import open_store
from tests.job_records import a_finished_job, a_job
from tests.redis_server import RedisServer


def test_all_keys_begin_with_the_prefix_and_go_with_their_jobs(redis_server: RedisServer) -> None:
    with closing(RedisJobStore(f"{redis_server.url}?prefix=mine")) as store:
        kept = a_job(1, client="a", idempotency=IdempotencyKey("key", "x"), uploaded_bytes=5)
        ended = a_finished_job(2, 10.0, files=("file",), file_bytes=7)
        store.write({"job-1": kept, "job-2": ended})
        with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
            assert len(client.keys("mine:*")) > 10
            store.write({"job-1": None, "job-2": None})
            assert client.keys("mine:*") == ["mine:meta"]


def test_stores_of_two_prefixes_know_nothing_of_each_other(redis_server: RedisServer) -> None:
    one, other = (RedisJobStore(f"{redis_server.url}?prefix={name}") for name in ("one", "other"))
    with closing(one), closing(other):
        one.write({"job-1": a_job(1)})
        assert other.get("job-1") is None
        other.write({"job-1": a_job(1, error="other")})
        assert one.get("job-1") == a_job(1)


def test_the_keys_are_taken_through_all_later_versions_once(redis_location: str) -> None:
    done: list[str] = []

    def one(client: redis.Redis, keys: Keys) -> None:
        done.append("one")
        client.set(f"{keys.prefix}:mood", "calm")

    def another(client: redis.Redis, keys: Keys) -> None:
        done.append(f"another after {client.get(f'{keys.prefix}:mood')!r}")

    with closing(RedisJobStore(redis_location)) as store:
        store.write({"job-1": a_job(1)})
    for _ in range(2):
        with closing(RedisJobStore(redis_location, (*MIGRATIONS, one, another))) as store:
            assert store.get("job-1") == a_job(1)
    assert done == ["one", "another after b'calm'"]


def test_a_new_store_needs_no_migration(redis_location: str) -> None:
    def second(_client: redis.Redis, _keys: Keys) -> None:
        raise AssertionError("nothing to migrate")

    RedisJobStore(redis_location, (second,)).close()


def test_the_keys_of_a_later_release_are_refused_with_what_to_do(redis_location: str) -> None:
    RedisJobStore(redis_location, (*MIGRATIONS, lambda _client, _keys: None)).close()
    with pytest.raises(StoreError, match=r"has version 4, .* run the release that wrote it"):
        RedisJobStore(redis_location)


@pytest.mark.parametrize(
    ("appendonly", "appendfsync", "warnings"),
    [("yes", "always", 0), ("yes", "everysec", 1), ("no", "always", 1)],
)
def test_a_redis_that_may_lose_jobs_is_warned_about(
    start_redis: Callable[..., RedisServer],
    caplog: pytest.LogCaptureFixture,
    appendonly: str,
    appendfsync: str,
    warnings: int,
) -> None:
    server = start_redis(appendonly=appendonly, appendfsync=appendfsync)
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    try:
        RedisJobStore(server.url).close()
    finally:
        logger.removeHandler(caplog.handler)
    messages = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert len(messages) == warnings
    assert all("appendfsync always" in message and server.url in message for message in messages)


def test_an_emptied_redis_takes_no_more_writes_of_the_tracker_that_knew_the_jobs(redis_location: str) -> None:
    with closing(RedisJobStore(redis_location)) as store:
        store.write({"job-1": a_job(1)})
        prefix = redis_location.partition("=")[2]
        with redis.Redis.from_url(redis_location.partition("?")[0]) as client:
            client.delete(*client.keys(f"{prefix}:*"))
        with pytest.raises(StoreReplacedError):
            store.check_owner()
        with pytest.raises(StoreReplacedError):
            store.write({"job-2": a_job(2)})
        with pytest.raises(StoreReplacedError):
            store.secret()


def test_a_tracker_knows_that_it_took_a_full_redis_over_though_that_was_not_answered(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_redis()
    with closing(RedisJobStore(server.url)) as first, redis.Redis.from_url(server.url) as client:
        first.write({"job-1": a_job(1)})
        client.config_set("maxmemory", 1)
        with closing(RedisJobStore(server.url)) as second, closing(RedisJobStore(server.url)) as third:
            client.config_set("maxmemory", 0)
            execute = Pipeline.execute

            def lose_answer(pipe: Pipeline) -> None:
                execute(pipe)
                raise redis.TimeoutError

            with monkeypatch.context() as patch:
                patch.setattr(Pipeline, "execute", lose_answer)
                with pytest.raises(StoreError):
                    second.write({"job-2": a_job(2)})
            second.check_owner()
            second.write({"job-3": a_job(3)})
            with pytest.raises(StoreTakenError):
                first.check_owner()
            with pytest.raises(StoreReplacedError):
                third.check_owner()


def test_a_store_goes_on_after_redis_came_back(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    with closing(RedisJobStore(server.url)) as store:
        store.write({"job-1": a_job(1)})
        server.kill()
        with pytest.raises(StoreError):
            store.write({"job-2": a_job(2)})
        server.start()
        assert store.get("job-1") == a_job(1)
        store.write({"job-2": a_job(2)})


@pytest.mark.parametrize("options", ["", "?prefix=studio", "?db=1&socket_timeout=2&prefix=other"])
async def test_a_redis_can_be_reached_by_its_socket(redis_server: RedisServer, options: str) -> None:
    location = redis_server.socket_url + options
    settings = Settings(jobs={"store": location})
    with closing(open_store(settings.jobs.store)) as store:
        store.write({"job-1": a_job(1)})
    with closing(open_store(location)) as store:
        assert store.get("job-1") == a_job(1)


def test_a_store_of_another_kind_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValidationError, match="path of an SQLite file, memory, or a Redis"):
        Settings(jobs={"store": "postgres://host/jobs"})


def test_a_prefix_is_no_pattern(redis_server: RedisServer) -> None:
    """Unreadable records are removed only from the sets of this store."""
    mine, other = f"{redis_server.url}?prefix=a[b]*", f"{redis_server.url}?prefix=ab"
    with closing(open_store(mine)) as store, closing(open_store(other)) as neighbour:
        for each in (store, neighbour):
            each.write({"job-1": a_job(1)})
        with redis.Redis.from_url(redis_server.url) as client:
            client.hset("a[b]*:records", "job-1", "{")
        assert store.get("job-1") is None
        assert [kept.job_id for kept in store.set_aside()] == ["job-1"]
        assert store.page(None, None, 9, 9) == []
        assert neighbour.page(None, None, 9, 9) == [a_job(1)]
