"""Many clients that wait for the same job share one question to the tracker."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from serve_app import shared_waits
from serve_app.jobs.model import JobState, JobView
from serve_app.jobs.storing.store import StoreError
from serve_app.shared_waits import WAKES_AT_ONCE, SharedWaits

RUNNING = JobView(
    job_id="a",
    client="anybody",
    sequence=1,
    state=JobState.RUNNING,
    stage="composing",
    progress=0.1,
    steps=None,
    created_at=0.0,
    started_at=1.0,
    finished_at=None,
    attempt=1,
    result=None,
    error=None,
    audio_format="mp3",
    files=(),
    queue_position=0,
    eta_seconds=None,
    avg_job_seconds=5.0,
)
FURTHER = replace(RUNNING, progress=0.2)
DENOISING = replace(RUNNING, stage="denoising", progress=0.4)
TIMEOUT = 30.0


@dataclass
class Tracker:
    """Answers a question when the test says so, and views at once."""

    latest: JobView = RUNNING
    asked: Counter[str] = field(default_factory=Counter)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def view(self, _job_id: str) -> JobView:
        self.asked["view"] += 1
        return self.latest

    async def wait(self, _job_id: str, _version: str, _timeout: float) -> JobView:
        return await self._news("wait")

    async def _news(self, question: str) -> JobView:
        self.asked[question] += 1
        await self.told.wait()
        self.told.clear()
        if self.error:
            raise self.error
        return self.latest

    def tell(self, view: JobView) -> None:
        self.latest = view
        self.told.set()


@pytest.fixture
def tracker() -> Tracker:
    return Tracker()


@pytest.fixture
def waits(tracker: Tracker) -> SharedWaits:
    return SharedWaits(tracker)


async def asked(tracker: Tracker, method: str, times: int) -> None:
    for _ in range(100):
        if tracker.asked[method] < times:
            await asyncio.sleep(0)
    assert tracker.asked[method] == times


async def test_clients_that_wait_for_the_same_ask_once(tracker: Tracker, waits: SharedWaits) -> None:
    clients = [asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT)) for _ in range(50)]
    await asked(tracker, "wait", 1)
    tracker.tell(FURTHER)
    assert await asyncio.gather(*clients) == [FURTHER] * 50
    assert tracker.asked == {"wait": 1}


async def test_who_knows_less_has_a_question_of_his_own(tracker: Tracker, waits: SharedWaits) -> None:
    clients = [
        asyncio.create_task(waits.until_changed("a", view.version, TIMEOUT)) for view in (RUNNING, FURTHER)
    ]
    await asked(tracker, "wait", 2)
    tracker.tell(FURTHER)
    done, _ = await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
    assert [await client for client in done] == [FURTHER]
    for client in clients:
        client.cancel()


async def test_the_one_who_asked_leaves_and_the_others_hear(tracker: Tracker, waits: SharedWaits) -> None:
    first = asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
    await asked(tracker, "wait", 1)
    second = asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    tracker.tell(FURTHER)
    assert await second == FURTHER
    assert tracker.asked == {"wait": 1}


async def test_a_question_without_news_is_asked_again(tracker: Tracker, waits: SharedWaits) -> None:
    client = asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
    await asked(tracker, "wait", 1)
    tracker.tell(RUNNING)
    await asked(tracker, "wait", 2)
    assert not client.done()
    tracker.tell(DENOISING)
    assert await client == DENOISING


async def test_a_wait_without_news_ends_in_a_time_out(tracker: Tracker, waits: SharedWaits) -> None:
    with pytest.raises(TimeoutError):
        await waits.until_changed("a", RUNNING.version, 0.01)
    assert tracker.asked == {"wait": 1}


async def test_a_trackers_error_reaches_all_and_is_forgotten(tracker: Tracker, waits: SharedWaits) -> None:
    tracker.error = StoreError("away")
    clients = [asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT)) for _ in range(3)]
    await asked(tracker, "wait", 1)
    tracker.told.set()
    assert [type(error) for error in await asyncio.gather(*clients, return_exceptions=True)] == [
        StoreError
    ] * 3
    tracker.error = None
    again = asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
    await asked(tracker, "wait", 2)
    tracker.tell(DENOISING)
    assert await again == DENOISING


def many_waiting(waits: SharedWaits) -> list[asyncio.Task[JobView | None]]:
    """Three times as many clients as are woken at once."""
    return [
        asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
        for _ in range(3 * WAKES_AT_ONCE)
    ]


async def test_many_clients_are_woken_at_a_pace_and_each_sees_the_newest(
    tracker: Tracker, waits: SharedWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_waits, "WAKES_PER_SECOND", 1_000.0)
    monkeypatch.setattr(shared_waits, "FRESH_SECONDS", 0.0)
    clients = [
        asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
        for _ in range(3 * WAKES_AT_ONCE)
    ]
    await asked(tracker, "wait", 1)
    tracker.tell(FURTHER)
    await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
    assert sum(client.done() for client in clients) <= WAKES_AT_ONCE + 10
    tracker.latest = DENOISING
    seen = await asyncio.gather(*clients)
    assert (seen[0], seen[-1]) == (FURTHER, DENOISING)
    assert tracker.asked["wait"] == 1


async def test_few_clients_of_a_job_do_not_wait_for_the_many_of_another(
    tracker: Tracker, waits: SharedWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_waits, "WAKES_PER_SECOND", 500.0)
    many = [
        asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
        for _ in range(3 * WAKES_AT_ONCE)
    ]
    await asked(tracker, "wait", 1)
    tracker.tell(FURTHER)
    await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
    one = asyncio.create_task(waits.until_changed("b", RUNNING.version, TIMEOUT))
    await asked(tracker, "wait", 2)
    tracker.tell(FURTHER)
    await one
    assert sum(client.done() for client in many) < len(many)
    await asyncio.gather(*many)
