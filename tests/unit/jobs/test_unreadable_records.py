"""Unreadable records are kept apart and stop nothing."""

import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import TypeAdapter

from configs.settings import Settings
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.model import Checkpoint, IdempotencyKey, Job, JobState
from serve_app.jobs.storing.records import job_from_json, parts_to_json, record_to_json
from serve_app.jobs.storing.store import JobStore
from serve_app.jobs.storing.stores import open_store
from serve_app.request.schemas import GenerateRequest
from serve_app.request.stored_request import _RequestFields
from tests.job_records import a_finished_job, a_job

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
    "a later layout": changed(lambda record: record.update(version=99)),
    "deeply nested": lambda _: b"[" * 100_000,
}


PART_DAMAGES: dict[str, Damage] = {
    "cut short": lambda part: part[: len(part) // 2],
    "no text": lambda part: part[:50] + b"\xff\xfe" + part[50:],
    "a list": lambda _: b"[1]",
    "a field of a later release": changed(lambda spec: spec["request"].update(mood="calm")),
}
"""Damages of a specification."""


class Overwrite:
    """Changes what is stored of one job behind the store's back, and returns what it is then."""

    def __init__(self, location: str) -> None:
        self._location = location

    def __call__(self, job_id: str, damage: Damage) -> bytes:
        """Change the record."""
        return self._change("jobs", "record", job_id, damage)

    def spec(self, job_id: str, damage: Damage) -> bytes:
        """Change the specification."""
        return self._change("specs", "content", job_id, damage)

    def _change(self, table: str, column: str, job_id: str, damage: Damage) -> bytes:
        if self._location.startswith("redis"):
            url, _, prefix = self._location.partition("?prefix=")
            key = f"{prefix}:{'records' if table == 'jobs' else table}"
            with redis.Redis.from_url(url) as client:
                stored: Any = client.hget(key, job_id)
                damaged = damage(stored)
                client.hset(key, job_id, damaged)
            return damaged
        with closing(sqlite3.connect(self._location)) as database, database:
            where = "sequence = (SELECT sequence FROM jobs WHERE job_id = ?)"
            found = f"SELECT CAST({column} AS BLOB) FROM {table} WHERE {where}"
            damaged = damage(database.execute(found, (job_id,)).fetchone()[0])
            change = f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE {where}"
            database.execute(change, (damaged, job_id))
        return damaged


@pytest.fixture
def overwrite(location: str) -> Overwrite:
    return Overwrite(location)


def keep(store: JobStore, *jobs: Job) -> None:
    store.write({job.job_id: job for job in jobs})


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_record_that_cannot_be_read_is_set_aside_and_stops_nothing(
    location: str, overwrite: Overwrite, damage: str
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


def test_an_unreadable_record_can_be_replaced_and_deleted(location: str, overwrite: Overwrite) -> None:
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
    location: str, overwrite: Overwrite
) -> None:
    with closing(open_store(location)) as store:
        keep(store, a_job(1), a_job(2))
        overwrite("job-1", DAMAGES["a later layout"])
        store.get("job-1")
        store.set_aside()
        assert store.take_back() == []
        rewrite_aside(location, record_to_json(a_job(1)))  # The library behaves as that release did.
        assert store.take_back() == ["job-1"]
        assert store.aside() == []
        assert list(store.unsettled_jobs()) == [a_job(1), a_job(2)]


@pytest.mark.parametrize("damage", PART_DAMAGES)
def test_a_job_whose_specification_cannot_be_read_is_set_aside_and_taken_back_with_all_its_parts(
    location: str, overwrite: Overwrite, damage: str
) -> None:
    job = a_job(1, checkpoint=Checkpoint(codes=((1, 2), None)))
    with closing(open_store(location)) as store:
        keep(store, job, a_job(2))
        whole: list[bytes] = []
        overwrite.spec("job-1", lambda spec: whole.append(spec) or spec)
        overwrite.spec("job-1", PART_DAMAGES[damage])
        assert list(store.unsettled_jobs()) == [a_job(2)]
        assert [kept.job_id for kept in store.set_aside()] == ["job-1"]
        assert store.unknown(["job-1"]) == set()
        assert store.take_back() == []
        mended(location, whole[0])
        assert store.take_back() == ["job-1"]
        assert list(store.unsettled_jobs()) == [job, a_job(2)]


def mended(location: str, spec: bytes) -> None:
    """Put the specification of job-1 right while its record is set aside."""
    if location.startswith("redis"):
        url, _, prefix = location.partition("?prefix=")
        with redis.Redis.from_url(url) as client:
            client.hset(f"{prefix}:specs", "job-1", spec)
    else:
        with closing(sqlite3.connect(location)) as database, database:
            database.execute("UPDATE specs SET content = ? WHERE sequence = 1", (spec.decode(),))


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
    overwrite: Overwrite,
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
    spec = json.loads(parts_to_json(a_job(1))["spec"] or "")
    for name, value in refused.items():
        with pytest.raises(ValueError, match=name):
            GenerateRequest(**{name: value})
        spec["request"][name] = value
    request = job_from_json(record_to_json(a_job(1)), {"spec": json.dumps(spec)}).spec.request
    assert {name: getattr(request, name) for name in refused} == {**refused, "track_classes": ("spoons",)}


def test_every_field_of_the_api_is_stored() -> None:
    assert _RequestFields.__annotations__.keys() == GenerateRequest.model_fields.keys()
    TypeAdapter(_RequestFields)
