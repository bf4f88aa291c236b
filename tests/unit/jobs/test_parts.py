"""Stores write the parts of a record that changed, and whole records when they cannot know what is stored."""

import sqlite3
from contextlib import closing

import pytest
import redis

from serve_app.jobs.model import Checkpoint, Job, JobState
from serve_app.jobs.storing.parts import PARTS, WrittenParts
from serve_app.jobs.storing.store import JobStore, StoreError
from serve_app.jobs.storing.stores import open_store
from tests.job_records import a_finished_job, a_job

CODES = Checkpoint(codes=((1, 2, 3),))


def keep(store: JobStore, job: Job) -> Job:
    store.write({job.job_id: job})
    return job


def test_only_parts_that_differ_are_written() -> None:
    written, job = WrittenParts(), a_job(1)
    assert written.changed(job) == PARTS
    written.written({"job-1": job})
    running = job.with_(state=JobState.RUNNING, progress=0.5)
    assert written.changed(running) == ()
    composed = running.with_(checkpoint=CODES)
    assert written.changed(composed) == ("checkpoint",)
    written.written({"job-1": composed})
    assert written.changed(composed.with_(result={}, checkpoint=Checkpoint())) == ("checkpoint", "result")


def test_a_job_whose_last_write_may_have_failed_is_written_whole_and_so_is_one_that_was_settled() -> None:
    written, job, settled = WrittenParts(), a_job(1), a_finished_job(2, 10.0)
    written.written({"job-1": job, "job-2": settled})
    written.forget(["job-1"])
    assert written.changed(job) == written.changed(settled) == PARTS


def test_a_job_in_a_store_has_the_parts_of_its_newest_record(location: str) -> None:
    with closing(open_store(location)) as store:
        composed = keep(store, keep(store, a_job(1)).with_(checkpoint=CODES))
        assert store.get("job-1") == composed
        moved = keep(store, composed.with_(progress=0.75))
        assert store.get("job-1") == moved
        ended = keep(
            store, moved.with_(state=JobState.SUCCEEDED, result={"bpm": 90}, checkpoint=Checkpoint())
        )
        assert store.get("job-1") == ended
    with closing(open_store(location)) as store:
        assert store.get("job-1") == ended


def test_a_write_that_failed_leaves_nothing_out_of_the_next_one(location: str) -> None:
    with closing(open_store(location)) as store:
        job = keep(store, a_job(1))
        with pytest.raises(StoreError):
            keep(store, job.with_(checkpoint=CODES, result={"thing": object()}))
        composed = keep(store, job.with_(checkpoint=CODES))
        assert store.get("job-1") == composed


def test_a_store_that_lost_its_last_writes_gets_the_whole_record(location: str) -> None:
    """After a failover, a Redis may lack what its former primary confirmed."""
    with closing(open_store(location)) as store:
        job = keep(store, a_job(1))
        lose_the_specification(location)
        moved = keep(store, job.with_(progress=0.5))
        assert store.get("job-1") == moved


def lose_the_specification(location: str) -> None:
    if location.startswith("redis"):
        url, _, prefix = location.partition("?prefix=")
        with redis.Redis.from_url(url) as client:
            client.hdel(f"{prefix}:specs", "job-1")
            client.hincrby(f"{prefix}:meta", "writes", -1)
    else:
        with closing(sqlite3.connect(location)) as database, database:
            database.execute("DELETE FROM specs")
