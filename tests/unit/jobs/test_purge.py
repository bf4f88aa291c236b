"""Deletion by an operator before the usual time. Files and records are real; time is simulated."""

from pathlib import Path
from typing import Any

import pytest

from serve_app.jobs.housekeeping.janitor import BATCH
from serve_app.jobs.housekeeping.purge import NOT_DELETED, NOT_ENDED, UNKNOWN, Purge, Purged, purge
from serve_app.jobs.model import JobState, NewJob
from serve_app.jobs.requeue import NOT_TIDY
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from tests.housekeeping import DAY, SONG_BYTES, Housekeeping
from tests.job_tracking import WORK


@pytest.fixture
def house(tmp_path: Path) -> Housekeeping:
    return Housekeeping(tmp_path)


async def one_step(house: Housekeeping, dry_run: bool = False, **wanted: Any) -> Purged:
    await house.journal.flushed()
    step = Purge(**{"below": 10**9, "ended_before": house.clock.now} | wanted)
    purged = await purge(step, dry_run, house.tracker, house.journal, house.janitor)
    await house.journal.flushed()
    return purged


async def songs(house: Housekeeping, *clients: str) -> list[str]:
    """Return the ids of jobs that succeeded and for which nothing is left to do."""
    job_ids = [house.finish(client) for client in clients]
    await house.sweep()
    return job_ids


async def test_named_jobs_go_with_their_songs(house: Housekeeping) -> None:
    first, second = await songs(house, "", "")
    assert await one_step(house, job_ids=(first,)) == Purged((first,), SONG_BYTES)
    assert house.files() == [f"{second}/2/0.wav"]
    assert house.tracker.view(first) is None
    assert house.tracker.ended.stored_bytes == SONG_BYTES
    assert house.tracker.stats().jobs["succeeded"] == 1


async def test_a_dry_run_says_what_would_go_and_deletes_nothing(house: Housekeeping) -> None:
    job_ids = await songs(house, "", "")
    told = await one_step(house, dry_run=True)
    assert (set(told.job_ids), told.file_bytes) == (set(job_ids), 2 * SONG_BYTES)
    assert len(house.files()) == 2
    assert house.state(job_ids[0]) is JobState.SUCCEEDED


async def test_why_a_named_job_stays_is_said(house: Housekeeping) -> None:
    untidy = house.finish()
    waiting = house.submit()
    told = await one_step(house, job_ids=(waiting, untidy, "never was"))
    assert told == Purged((), 0, {waiting: NOT_ENDED, untidy: NOT_TIDY, "never was": UNKNOWN})
    assert house.state(waiting) is JobState.QUEUED
    assert house.state(untidy) is JobState.SUCCEEDED


async def test_all_that_meet_every_condition_go(house: Housekeeping) -> None:
    old, others = await songs(house, "ann", "bob")
    house.clock.now += DAY / 2
    (young,) = await songs(house, "ann")
    failed = house.submit("ann")
    house.tracker.claim("token")
    house.tracker.fail(failed, "token", "No.", retryable=False)
    await house.sweep()
    waiting = house.submit("ann")

    async def chosen(**wanted: Any) -> set[str]:
        return set((await one_step(house, dry_run=True, **wanted)).job_ids)

    yesterday = house.clock.now - DAY / 4
    assert await chosen() == {old, others, young, failed}
    assert await chosen(ended_before=yesterday) == {old, others}
    assert await chosen(client="ann") == {old, young, failed}
    assert await chosen(state=JobState.FAILED) == {failed}
    assert await chosen(client="ann", state=JobState.SUCCEEDED, ended_before=yesterday) == {old}
    assert set((await one_step(house, client="ann")).job_ids) == {old, young, failed}
    assert house.state(others) is JobState.SUCCEEDED
    assert house.state(waiting) is JobState.QUEUED


async def test_a_long_purge_goes_on_where_a_step_ended(house: Housekeeping) -> None:
    job_ids = await songs(house, *[""] * (BATCH + 2))
    first = await one_step(house)
    assert len(first.job_ids) == BATCH
    assert first.next_below is not None
    second = await one_step(house, below=first.next_below)
    assert {*first.job_ids, *second.job_ids} == set(job_ids)
    assert second.next_below is None
    assert house.files() == []


async def test_a_job_whose_songs_cannot_be_deleted_keeps_its_record(
    house: Housekeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = await songs(house, "")

    def stuck(job_id: str) -> None:
        raise PermissionError(job_id)

    monkeypatch.setattr(house.storage, "delete_job", stuck)
    assert await one_step(house) == Purged((), 0, {job_id: NOT_DELETED})
    assert house.state(job_id) is JobState.SUCCEEDED


async def test_a_callback_that_is_still_to_be_made_keeps_no_job(house: Housekeeping) -> None:
    spec = JobSpec(GenerateRequest(callback_url="https://example.org"), seeds=(1,))
    house.tracker.submit(NewJob("called-back", spec, WORK))
    house.tracker.cancel("called-back")
    await house.sweep()
    assert len(house.tracker.ended.callbacks_due()) == 1
    assert (await one_step(house)).job_ids == ("called-back",)
    assert house.tracker.ended.callbacks_due() == []
    assert house.tracker.view("called-back") is None
