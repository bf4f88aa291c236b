"""Batches of jobs: all or none, followed by one id, told of when all have ended."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from configs.metrics import Delivery
from configs.settings import Settings
from serve_app.jobs import durable_tracker
from serve_app.jobs.batches import sequences_of
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.errors import IdempotencyConflictError, LimitError, NoRoomError
from serve_app.jobs.model import Callback, Client, IdempotencyKey, Job, JobState, NewJob
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.storing.store import StoreError
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from tests.job_tracking import WORK, Tracking
from tests.runner_server import eventually
from tests.unit.jobs.test_webhooks import receiving

SPEC = JobSpec(GenerateRequest(), (1,))


def news(*job_ids: str, key: str | None = None, fingerprint: str = "f") -> tuple[NewJob, ...]:
    idempotency = None if key is None else IdempotencyKey(key, fingerprint)
    return tuple(
        NewJob(job_id, SPEC, WORK, Client("ann"), idempotency=None if index else idempotency)
        for index, job_id in enumerate(job_ids)
    )


def settings_of(tmp_path: Path, store: str | None = None) -> Settings:
    return Settings(
        jobs={"store": store or str(tmp_path / "jobs.sqlite3")},
        storage={"uri": str(tmp_path / "output"), "sweep_seconds": 0.1},
        webhooks={"allow_private_addresses": True},
    )


@pytest.fixture(params=["sqlite", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return settings_of(tmp_path, request.getfixturevalue(f"{request.param}_location"))


@pytest.fixture
async def tracker(settings: Settings) -> AsyncIterator[DurableTracker]:
    tracker = DurableTracker(settings)
    yield tracker
    await tracker.close()


async def finish(tracker: DurableTracker) -> str:
    claim = await tracker.claim("token", 0)
    assert claim is not None
    await tracker.finish(claim.job.job_id, "token", {"timings": {}}, (), 0)
    return claim.job.job_id


async def test_a_batch_is_queued_in_order_and_followed_by_its_id(
    tracker: DurableTracker, settings: Settings
) -> None:
    await tracker.submit(NewJob("before", SPEC, WORK, Client("ann")))
    accepted = await tracker.submit_batch(news("a", "b", "c"), None)
    await tracker.submit(NewJob("after", SPEC, WORK, Client("ann")))
    assert [(job.job_id, job.queue_position) for job in accepted.jobs] == [("a", 2), ("b", 3), ("c", 4)]
    assert sequences_of(accepted.batch_id) == (1, 3)
    assert await finish(tracker) == "before"
    assert await finish(tracker) == "a"
    await tracker.claim("another", 0)
    view = await tracker.batch(accepted.batch_id, "ann")
    assert view is not None
    assert view.jobs == (("a", JobState.SUCCEEDED), ("b", JobState.RUNNING), ("c", JobState.QUEUED))
    assert (view.client, view.deleted, view.is_ended) == ("ann", 0, False)
    successor = DurableTracker(settings)
    assert await successor.batch(accepted.batch_id, None) == view
    await successor.close()


async def test_only_its_owner_finds_a_batch_and_only_by_its_whole_id(tracker: DurableTracker) -> None:
    batch_id = (await tracker.submit_batch(news("a", "b"), None)).batch_id
    assert await tracker.batch(batch_id, "bob") is None
    assert await tracker.cancel_batch(batch_id, "bob") is None
    first, count, chance = batch_id.split(".")
    for wrong in ("", "b", "a", f"{first}.{count}.{'0' * 20}", f"{first}.1.{chance}", f"b9.{count}.{chance}"):
        assert await tracker.batch(wrong, None) is None


async def test_a_batch_is_cancelled_as_far_as_it_has_not_ended(tracker: DurableTracker) -> None:
    batch_id = (await tracker.submit_batch(news("a", "b", "c"), None)).batch_id
    await finish(tracker)
    await tracker.claim("token", 0)
    for _ in range(2):
        view = await tracker.cancel_batch(batch_id, "ann")
        assert view is not None
        states = [state for _, state in view.jobs]
        assert states == [JobState.SUCCEEDED, JobState.CANCELLED, JobState.CANCELLED]
    assert await tracker.lease_lost("b", "token", 0)


async def test_a_batch_lasts_as_long_as_one_of_its_jobs(tracker: DurableTracker) -> None:
    batch_id = (await tracker.submit_batch(news("a", "b"), None)).batch_id
    await tracker.purge_job("a", "ann")
    view = await tracker.batch(batch_id, "ann")
    assert view is not None
    assert (view.jobs, view.deleted) == ((("b", JobState.QUEUED),), 1)
    await tracker.purge_job("b", "ann")
    assert await tracker.batch(batch_id, "ann") is None


async def purge_when_it_is_read(
    tracker: DurableTracker, job_id: str, monkeypatch: pytest.MonkeyPatch, is_awaited: bool = False
) -> None:
    """Let the purge of a job begin, or be complete, when its record is first about to be read."""
    tracking, journal = await tracker._open()
    read, purged = journal.get, []

    async def get(wanted: str) -> Job | None:
        if wanted == job_id and not purged:
            purged.append(job_id)
            if is_awaited:
                assert await tracker.purge_job(job_id, None)
            else:
                tracking.purge(job_id, None)
        return await read(wanted)

    monkeypatch.setattr(journal, "get", get)


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_a_batch_is_found_without_its_first_job_which_is_purged_meanwhile(
    tracker: DurableTracker, monkeypatch: pytest.MonkeyPatch, is_awaited: bool
) -> None:
    batch_id = (await tracker.submit_batch(news("a", "b"), None)).batch_id
    await purge_when_it_is_read(tracker, "a", monkeypatch, is_awaited)
    view = await tracker.batch(batch_id, "ann")
    assert view is not None
    assert (view.jobs, view.deleted) == ((("b", JobState.QUEUED),), 1)


async def test_a_batch_shows_an_end_when_it_is_durable(
    tracker: DurableTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store takes the end when somebody waits for it, and not before."""
    batch_id = (await tracker.submit_batch(news("a", "b"), None)).batch_id
    _, journal = await tracker._open()
    write, flushed = journal.store.write, journal.flushed
    begun, may_go_on = threading.Event(), threading.Event()

    def held(changes: Mapping[str, Job | None]) -> None:
        begun.set()
        may_go_on.wait(30)
        write(changes)

    async def awaited() -> None:
        may_go_on.set()
        await flushed()

    await tracker.claim("token", 0)
    monkeypatch.setattr(journal.store, "write", held)
    finishing = asyncio.create_task(tracker.finish("a", "token", {"timings": {}}, (), 0))
    assert await asyncio.to_thread(begun.wait, 30)
    monkeypatch.setattr(journal, "flushed", awaited)
    view = await tracker.batch(batch_id, "ann")
    is_durable = journal.is_written("a")
    may_go_on.set()
    await finishing
    assert view is not None
    assert view.jobs == (("a", JobState.SUCCEEDED), ("b", JobState.QUEUED))
    assert is_durable


async def test_a_repeated_batch_is_the_same_one(tracker: DurableTracker) -> None:
    first = await tracker.submit_batch(news("a", "b", key="k"), None)
    await finish(tracker)
    again = await tracker.submit_batch(news("c", "d", key="k"), None)
    assert again.batch_id == first.batch_id
    assert [(job.job_id, job.state) for job in again.jobs] == [
        ("a", JobState.SUCCEEDED),
        ("b", JobState.QUEUED),
    ]
    assert await tracker.view("c") is None
    with pytest.raises(IdempotencyConflictError):
        await tracker.submit_batch(news("e", key="k", fingerprint="other"), None)


async def test_a_batch_that_is_not_stored_is_not_there_at_all(
    tracker: DurableTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, journal = await tracker._open()

    def fail(_changes: Any) -> None:
        raise StoreError("full")

    with monkeypatch.context() as patch:
        patch.setattr(journal.store, "write", fail)
        with pytest.raises(NoRoomError):
            await tracker.submit_batch(news("a", "b"), None)
    assert (await tracker.stats()).jobs["queued"] == 0


async def test_a_callback_tells_when_all_have_ended_and_survives_a_restart(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    async with receiving("503 Busy", "200 OK") as receiver:
        tracker = DurableTracker(settings)
        batch_id = (await tracker.submit_batch(news("a", "b"), receiver.url)).batch_id
        await finish(tracker)
        await tracker.close()
        tracker = DurableTracker(settings)
        await tracker.cancel("b")
        await tracker.purge_job("b", "ann")
        async with asyncio.timeout(60):
            while len(receiver.requests) < 2:  # noqa: ASYNC110, nobody else tells
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)
        await tracker.close()
    assert len(receiver.requests) == 2
    headers, body = receiver.requests[-1]
    assert (headers["webhook-id"], headers["webhook-event"]) == (batch_id, "batch")
    told = json.loads(body)
    assert (told["batch_id"], told["is_ended"], told["deleted"]) == (batch_id, True, 1)
    assert told["jobs"] == [{"job_id": "a", "status": "succeeded"}]


async def test_a_callback_is_made_although_the_purge_of_the_first_job_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_tracker, "CALLBACK_CHECK_SECONDS", 0.01)
    outcomes: list[Delivery] = []

    class Observer(JobObserver):
        def called_back(self, outcome: Delivery) -> None:
            outcomes.append(outcome)

    async with receiving("200 OK") as receiver:
        tracker = DurableTracker(settings_of(tmp_path), Observer())
        await tracker.submit_batch(news("a", "b"), receiver.url)
        await purge_when_it_is_read(tracker, "a", monkeypatch)
        for _ in range(2):
            await finish(tracker)
        await eventually(lambda: bool(outcomes))
        await tracker.close()
    assert outcomes == ["delivered"]
    ((_, body),) = receiver.requests
    assert json.loads(body)["jobs"] == [{"job_id": "b", "status": "succeeded"}]


def submitted(tracking: Tracking, *job_ids: str) -> None:
    tracking.tracker.submit_batch(news(*job_ids), "https://example.org")


def test_the_first_callback_does_not_wait_for_a_clock_that_was_set_back() -> None:
    tracking = Tracking()
    submitted(tracking, "a")
    tracking.tracker.cancel("a")
    tracking.clock.now -= 3000
    assert [job.job_id for job in tracking.tracker.ended.batch_callbacks_due()] == ["a"]


def test_the_last_end_makes_the_callback_due_and_a_requeue_takes_it_back() -> None:
    tracking = Tracking()
    submitted(tracking, "a", "b")
    tracking.tracker.claim("token")
    tracking.tracker.fail("a", "token", "No.", retryable=False)
    assert tracking.tracker.ended.batch_callbacks_due() == []
    tracking.restart()
    tracking.tracker.cancel("b")
    assert [job.job_id for job in tracking.tracker.ended.batch_callbacks_due()] == ["b"]
    tracking.tidied("a")
    tracking.tracker.requeue("a")
    tracking.batch_called_back("b", Callback(tracking.clock.now + 5, 1))
    assert tracking.tracker.ended.batch_callbacks_due() == []
    tracking.wait(6)
    assert [job.job_id for job in tracking.tracker.ended.batch_callbacks_due()] == ["b"]
    tracking.batch_called_back("b", None)
    assert tracking.tracker.ended.batch_callbacks_due() == []
    tracking.run_next(1)
    assert [job.job_id for job in tracking.tracker.ended.batch_callbacks_due()] == ["a"]


def test_the_callback_of_an_earlier_end_does_not_take_that_of_a_later_one_away() -> None:
    tracking = Tracking()
    submitted(tracking, "a")
    tracking.tracker.claim("token")
    tracking.tracker.fail("a", "token", "No.", retryable=False)
    (told_of,) = tracking.tracker.ended.batch_callbacks_due()
    tracking.tidied("a")
    tracking.tracker.requeue("a")
    tracking.run_next(1)
    tracking.tracker.ended.batch_called_back(told_of, None)
    assert [job.job_id for job in tracking.tracker.ended.batch_callbacks_due()] == ["a"]


@pytest.mark.parametrize(
    ("limits", "limit"), [({"queue_limit": 4}, "queue_limit"), ({"client_jobs": 4}, "client_jobs")]
)
def test_a_batch_that_does_not_fit_is_refused_as_a_whole(limits: dict[str, int], limit: str) -> None:
    tracking = Tracking(**limits)
    tracking.submit("ann")
    submitted(tracking, "a", "b")
    with pytest.raises(LimitError) as refused:
        submitted(tracking, "c", "d")
    assert refused.value.limit == limit
    assert tracking.view("c") is None
    assert tracking.tracker.stats().jobs["queued"] == 3
    submitted(tracking, "e")


def test_a_batch_begins_like_one_submit_and_counts_with_all_its_jobs() -> None:
    tracking = Tracking(client_rate=1.0, client_burst=2)
    submitted(tracking, *"abcde")
    with pytest.raises(LimitError) as refused:
        tracking.submit("ann")
    assert refused.value.limit == "client_rate"
    assert refused.value.retry_after == pytest.approx(4.0)
    tracking.wait(4.0)
    tracking.submit("ann")
