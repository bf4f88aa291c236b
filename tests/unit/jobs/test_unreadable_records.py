"""Unreadable records are kept apart and stop nothing. The stores of every release can be opened."""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import TypeAdapter

from configs.settings import ModelSettings, Settings
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.model import IdempotencyKey, Job, JobState
from serve_app.jobs.storing.records import job_from_json, job_to_json
from serve_app.jobs.storing.store import JobStore
from serve_app.jobs.storing.stores import open_store
from serve_app.request.planning import dit_model
from serve_app.request.schemas import GenerateRequest
from serve_app.request.stored_request import _RequestFields
from tests.golden_stores import BEFORE_MODELS, LAYOUT, golden_jobs, restore_redis, restore_sqlite
from tests.job_records import a_finished_job, a_job
from tests.redis_server import RedisServer

Damage = Callable[[bytes], bytes]


def changed(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(record: bytes) -> bytes:
        found = json.loads(record)
        change(found)
        return json.dumps(found).encode()

    return damage


DAMAGES: dict[str, Damage] = {
    "cut short": lambda record: record[: len(record) // 2],
    "nothing": lambda _: b"",
    "no text": lambda record: record[:50] + b"\xff\xfe" + record[50:],
    "a list": lambda _: b"[1]",
    "no job": lambda _: b'{"version": 99, "job": 5}',
    "wrong type": changed(lambda record: record["job"].update(place="here")),
    "unknown state": changed(lambda record: record["job"].update(state="dreaming")),
    "a field of a later release": changed(
        lambda record: record["job"]["spec"]["request"].update(mood="calm")
    ),
    "a later layout": changed(lambda record: record.update(version=2)),
    "deeply nested": lambda _: b"[" * 100_000,
}


@pytest.fixture
def overwrite(location: str) -> Callable[[str, Damage], bytes]:
    """Return a function that changes a stored record directly and returns its new content."""

    def in_sqlite(job_id: str, damage: Damage) -> bytes:
        with closing(sqlite3.connect(location)) as database, database:
            (record,) = database.execute(
                "SELECT CAST(record AS BLOB) FROM jobs WHERE job_id = ?", (job_id,)
            ).fetchone()
            damaged = damage(record)
            query = "UPDATE jobs SET record = CAST(? AS TEXT) WHERE job_id = ?"
            database.execute(query, (damaged, job_id))
        return damaged

    def in_redis(job_id: str, damage: Damage) -> bytes:
        url, _, prefix = location.partition("?prefix=")
        with redis.Redis.from_url(url) as client:
            record: Any = client.hget(f"{prefix}:records", job_id)
            damaged = damage(record)
            client.hset(f"{prefix}:records", job_id, damaged)
        return damaged

    return in_redis if location.startswith("redis") else in_sqlite


def keep(store: JobStore, *jobs: Job) -> None:
    store.write({job.job_id: job for job in jobs})


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_record_that_cannot_be_read_is_set_aside_and_stops_nothing(
    location: str, overwrite: Callable[[str, Damage], bytes], damage: str
) -> None:
    key = IdempotencyKey("key", "x")
    with closing(open_store(location)) as store:
        keep(store, *(a_job(n, client="ann", idempotency=key) for n in range(3)), a_finished_job(4, 5.0))
        raw = overwrite("job-1", DAMAGES[damage])
        others = ["job-0", "job-2"]
        for aside in (False, True):
            assert [job.job_id for job in store.unsettled_jobs()] == others
            assert [job.job_id for job in store.page("ann", None, 99, 9)] == others[::-1]
            assert store.get("job-1") is None
            assert store.get_many(["job-0", "job-1"]) == {"job-0": store.get("job-0")}
            assert store.unknown(["job-1", "job-9"]) == {"job-9"}  # Its files also stay.
            if not aside:
                (kept,) = store.set_aside()
                assert (kept.job_id, kept.state, kept.record) == ("job-1", "queued", raw)
                assert kept.reason
                assert store.noted_unreadable() == 0
        assert store.set_aside() == []
        assert store.counts()[JobState.QUEUED] == 2
        assert store.aside() == [kept]
        assert store.take_back() == []
        keep(store, a_job(2, client="ann", idempotency=key, progress=0.5))
    with closing(open_store(location)) as store:
        assert store.aside() == [kept]
        assert store.find("ann", "key") == a_job(2, client="ann", idempotency=key, progress=0.5)


def test_an_unreadable_record_can_be_replaced_and_deleted(
    location: str, overwrite: Callable[[str, Damage], bytes]
) -> None:
    with closing(open_store(location)) as store:
        keep(store, a_job(1), a_job(2))
        for number in (1, 2):
            overwrite(f"job-{number}", DAMAGES["cut short"])
        keep(store, a_finished_job(1, 5.0))
        store.write({"job-2": None})
        assert store.page(None, None, 9, 9) == store.page(None, JobState.SUCCEEDED, 9, 9)
        assert store.counts()[JobState.QUEUED] == 0
        assert store.set_aside() == []


def test_what_a_later_release_wrote_is_a_job_again_where_it_can_be_read(
    location: str, overwrite: Callable[[str, Damage], bytes]
) -> None:
    with closing(open_store(location)) as store:
        keep(store, a_job(1), a_job(2))
        overwrite("job-1", DAMAGES["a field of a later release"])
        store.get("job-1")
        store.set_aside()
        assert store.take_back() == []
        rewrite_aside(location, job_to_json(a_job(1)))  # The library behaves as that release did.
        assert store.take_back() == ["job-1"]
        assert store.aside() == []
        assert list(store.unsettled_jobs()) == [a_job(1), a_job(2)]


def rewrite_aside(location: str, record: bytes) -> None:
    if location.startswith("redis"):
        url, _, prefix = location.partition("?prefix=")
        with redis.Redis.from_url(url) as client:
            client.hset(f"{prefix}:set_aside", "job-1", record)
    else:
        with closing(sqlite3.connect(location)) as database, database:
            database.execute("UPDATE set_aside SET record = ?", (record,))


async def test_the_tracker_goes_on_and_reports_an_unreadable_record(
    location: str,
    overwrite: Callable[[str, Damage], bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with closing(open_store(location)) as store:
        keep(store, a_job(1), a_job(2))
        overwrite("job-1", DAMAGES["cut short"])
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    settings = Settings(jobs={"store": location}, storage={"uri": str(tmp_path), "sweep_seconds": 0.05})
    actor = DurableTracker(settings)
    try:
        claim = await actor.claim("token", 0)
        assert claim is not None
        assert claim.job.job_id == "job-2"
        while not (kept := await actor.set_aside()):
            pass
        assert [record.job_id for record in kept] == ["job-1"]
        assert await actor.view("job-1") is None
        assert (await actor.stats()).jobs["queued"] == 0
    finally:
        await actor.close()
        logger.removeHandler(caplog.handler)
    assert "job job-1 record_set_aside state=queued reason=" in caplog.text
    assert "calm piano" not in caplog.text  # No text of a user is in the log.


def test_a_stored_request_is_read_by_no_rule_of_the_api() -> None:
    """Each field holds a value that the API refuses now, as if its rules had become stricter."""
    refused: dict[str, Any] = {
        "caption": "x" * 100_000,
        "bpm": 100_000,
        "audio_duration": -5.0,
        "inference_steps": 10_000,
        "vocal_language": "klingon",
        "track_classes": ["spoons"],
        "callback_url": "ftp://old",
        "lm_backend": "gone",
    }
    record = json.loads(job_to_json(a_job(1)))
    for name, value in refused.items():
        with pytest.raises(ValueError, match=name):
            GenerateRequest(**{name: value})
        record["job"]["spec"]["request"][name] = value
    request = job_from_json(json.dumps(record)).spec.request
    assert {name: getattr(request, name) for name in refused} == {**refused, "track_classes": ("spoons",)}


def test_every_field_of_the_api_is_stored() -> None:
    assert _RequestFields.__annotations__.keys() == GenerateRequest.model_fields.keys()
    TypeAdapter(_RequestFields)


# Golden files


def restored(layout: str, request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    """Open the store that the golden files of a layout describe."""
    if request.param == "sqlite":
        path = tmp_path / "jobs.sqlite3"
        restore_sqlite(layout, path)
        return open_store(str(path))
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = tmp_path.name
    restore_redis(layout, server.url, prefix)
    return open_store(f"{server.url}?prefix={prefix}")


@pytest.fixture(params=["sqlite", "redis"])
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    with closing(restored(LAYOUT, request, tmp_path)) as store:
        yield store


@pytest.fixture(params=["sqlite", "redis"])
def golden_before_models(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    with closing(restored(BEFORE_MODELS, request, tmp_path)) as store:
        yield store


def test_a_store_of_this_release_opens(golden: JobStore) -> None:
    running, succeeded = golden_jobs().values()
    assert list(golden.unsettled_jobs()) == [running, succeeded]
    assert golden.find("alice", "k-1") == running
    assert golden.page("bob", JobState.SUCCEEDED, 99, 9) == [succeeded]
    assert golden.stored_bytes() == {"alice": 1234, "bob": 9000}
    assert golden.next_sequence() == 43
    assert golden.secret() == bytes(32)
    golden.write({running.job_id: None, succeeded.job_id: succeeded.with_(callback=None)})
    assert golden.ended(2e9, True, 9) == [succeeded.with_(callback=None)]


def test_jobs_of_an_earlier_release_name_no_dit_and_get_the_default(golden_before_models: JobStore) -> None:
    running, succeeded = golden_jobs().values()
    before = running.with_(spec=replace(running.spec, dit=None), work=replace(running.work, models={}))
    assert list(golden_before_models.unsettled_jobs()) == [before, succeeded]
    assert dit_model(before.spec, ModelSettings(dits=("first", "second"))) == "first"


def test_what_is_written_now_is_what_the_golden_files_hold(golden: JobStore) -> None:
    """When this fails, the stored layout has changed. Add files of the new layout and keep the old ones."""
    for job in golden_jobs().values():
        assert job_to_json(job) == raw_record(golden, job.job_id)


def raw_record(store: JobStore, job_id: str) -> bytes:
    if hasattr(store, "_reader"):
        (record,) = store._reader.execute("SELECT record FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return str(record).encode()
    record = store._redis.hget(store._keys.records, job_id)  # type: ignore[attr-defined]
    return bytes(record)
