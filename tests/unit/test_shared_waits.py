"""Many clients that wait for the same job share one question to the tracker."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from serve_app import shared_waits
from serve_app.jobs.model import JobState, JobView
from serve_app.jobs.storing.store import StoreError
from serve_app.shared_waits import ENDS_PER_SECOND, WAKES_AT_ONCE, SharedWaits

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
ENDED = replace(RUNNING, state=JobState.SUCCEEDED, stage=None, progress=1.0, finished_at=2.0, result={})
TIMEOUT = 30.0
CORES = 100
"""Each core makes the pace of news faster; that of ends does not depend on it."""


@dataclass
class Tracker:
    """Answers a question when the test says so, and views at once."""

    latest: JobView | None = RUNNING
    asked: Counter[str] = field(default_factory=Counter)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def view(self, _job_id: str) -> JobView | None:
        self.asked["view"] += 1
        return self.latest

    async def wait(self, _job_id: str, _version: str, _timeout: float) -> JobView | None:
        return await self._news("wait")

    async def until_job_changes(self, _known: JobView, timeout: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news("until_job_changes")

    async def _news(self, question: str) -> JobView | None:
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
    return SharedWaits(tracker, CORES)


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
    assert tracker.asked["wait"] == 1


async def test_who_knows_less_has_a_question_of_his_own(tracker: Tracker, waits: SharedWaits) -> None:
    tracker.latest = FURTHER
    less, more = (
        asyncio.create_task(waits.until_changed("a", view.version, TIMEOUT)) for view in (RUNNING, FURTHER)
    )
    await asked(tracker, "wait", 1)
    assert await less == FURTHER
    assert not more.done()
    tracker.tell(DENOISING)
    assert await more == DENOISING


async def test_the_one_who_asked_leaves_and_the_others_hear(tracker: Tracker, waits: SharedWaits) -> None:
    first = asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
    await asked(tracker, "wait", 1)
    second = asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    tracker.tell(FURTHER)
    assert await second == FURTHER
    assert tracker.asked["wait"] == 1


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
    assert tracker.asked == {"view": 1, "wait": 1}


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


async def test_long_polls_share_a_question_whatever_progress_they_know(
    tracker: Tracker, waits: SharedWaits
) -> None:
    clients = [asyncio.create_task(waits.until_stage_changes("a", "anybody", TIMEOUT)) for _ in range(20)]
    await asked(tracker, "until_job_changes", 1)
    tracker.tell(FURTHER)
    await asked(tracker, "until_job_changes", 2)
    clients += [asyncio.create_task(waits.until_stage_changes("a", None, TIMEOUT)) for _ in range(20)]
    await asked(tracker, "view", 42)
    assert not any(client.done() for client in clients)
    tracker.tell(DENOISING)
    assert await asyncio.gather(*clients) == [DENOISING] * 40
    assert not tracker.asked["wait"]


async def test_a_long_poll_without_news_tells_how_the_job_stands(waits: SharedWaits) -> None:
    assert await waits.until_stage_changes("a", None, 0.01) == RUNNING
    assert await waits.until_ended("a", 0.01) == RUNNING


@pytest.mark.parametrize(("view", "client"), [(ENDED, None), (RUNNING, "somebody else"), (None, None)])
async def test_a_long_poll_of_what_cannot_change_or_is_not_the_clients_is_answered_at_once(
    tracker: Tracker, waits: SharedWaits, view: JobView | None, client: str | None
) -> None:
    tracker.latest = view
    assert await waits.until_stage_changes("a", client, TIMEOUT) == view
    assert tracker.asked == {"view": 1}


async def test_who_waits_for_the_end_hears_nothing_else(tracker: Tracker, waits: SharedWaits) -> None:
    clients = [asyncio.create_task(waits.until_ended("a", TIMEOUT)) for _ in range(5)]
    for number, view in enumerate((RUNNING, FURTHER, DENOISING), 1):
        await asked(tracker, "until_job_changes", number)
        tracker.tell(view)
    await asked(tracker, "until_job_changes", 4)
    assert not any(client.done() for client in clients)
    tracker.tell(ENDED)
    assert await asyncio.gather(*clients) == [ENDED] * 5


MANY = 10 * WAKES_AT_ONCE


def many_waiting(waits: SharedWaits) -> list[asyncio.Task[JobView | None]]:
    return [asyncio.create_task(waits.until_changed("a", RUNNING.version, TIMEOUT)) for _ in range(MANY)]


def done(clients: list[asyncio.Task[JobView | None]]) -> int:
    return sum(client.done() for client in clients)


async def test_news_wake_clients_at_a_pace_and_each_sees_the_newest(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_waits, "NEWS_PER_SECOND_AND_CORE", 50.0)
    waits = SharedWaits(tracker, cores=2)
    clients = many_waiting(waits)
    await asked(tracker, "wait", 1)
    began = time.monotonic()
    tracker.tell(FURTHER)
    await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
    assert done(clients) < MANY
    tracker.latest = DENOISING
    seen = await asyncio.gather(*clients)
    assert time.monotonic() - began >= (MANY - WAKES_AT_ONCE - 1) / 100
    assert (seen[0], seen[-1]) == (FURTHER, DENOISING)
    assert tracker.asked["wait"] == 1


async def test_an_end_does_not_wait_for_the_pace_of_other_news(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_waits, "NEWS_PER_SECOND_AND_CORE", 0.001)
    waits = SharedWaits(tracker, cores=2)
    clients = many_waiting(waits)
    await asked(tracker, "wait", 1)
    tracker.tell(FURTHER)
    await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.05)
    assert WAKES_AT_ONCE <= done(clients) <= WAKES_AT_ONCE + 1
    assert tracker.asked["until_job_changes"] == 1
    read = tracker.asked["view"]
    await asyncio.sleep(0.05)
    assert tracker.asked["view"] == read
    tracker.tell(ENDED)
    async with asyncio.timeout(TIMEOUT):
        assert (await asyncio.gather(*clients))[-1] == ENDED


async def test_ends_have_a_pace_too(tracker: Tracker, waits: SharedWaits) -> None:
    clients = many_waiting(waits)
    await asked(tracker, "wait", 1)
    began = time.monotonic()
    tracker.tell(ENDED)
    assert await asyncio.gather(*clients) == [ENDED] * MANY
    assert time.monotonic() - began >= (MANY - WAKES_AT_ONCE - 1) / ENDS_PER_SECOND


async def test_a_job_that_is_purged_while_many_are_told_of_its_end_is_unknown_to_the_rest(
    tracker: Tracker, waits: SharedWaits
) -> None:
    tracker.latest = ENDED
    clients = many_waiting(waits)
    await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
    tracker.latest = None
    seen = await asyncio.gather(*clients)
    assert (seen[0], seen[-1]) == (ENDED, None)


async def test_few_clients_of_a_job_do_not_wait_for_the_many_of_another(
    tracker: Tracker, waits: SharedWaits
) -> None:
    many = many_waiting(waits)
    await asked(tracker, "wait", 1)
    tracker.tell(FURTHER)
    await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
    await waits.until_changed("b", RUNNING.version, TIMEOUT)
    assert done(many) < MANY
    await asyncio.gather(*many)


async def test_clients_of_a_job_are_told_in_the_order_in_which_they_began_to_wait(
    tracker: Tracker, waits: SharedWaits
) -> None:
    early = many_waiting(waits)
    await asked(tracker, "wait", 1)
    tracker.tell(FURTHER)
    await asyncio.wait(early, return_when=asyncio.FIRST_COMPLETED)
    late = asyncio.create_task(waits.until_changed("a", FURTHER.version, TIMEOUT))
    await asked(tracker, "wait", 2)
    tracker.tell(DENOISING)
    assert await late == DENOISING
    assert done(early) == MANY


async def test_who_has_left_takes_no_turn(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_waits, "NEWS_PER_SECOND_AND_CORE", 1.0)
    waits = SharedWaits(tracker, cores=1)
    clients = many_waiting(waits)
    await asked(tracker, "wait", 1)
    tracker.tell(FURTHER)
    await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
    last = clients.pop()
    for client in clients:
        client.cancel()
    async with asyncio.timeout((MANY - WAKES_AT_ONCE) / 2):
        assert await last == FURTHER


async def test_who_comes_while_the_job_is_read_for_another_client_is_told_of_a_later_read(
    tracker: Tracker, waits: SharedWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_answered = asyncio.Event()

    async def view(_job_id: str) -> JobView | None:
        tracker.asked["view"] += 1
        view = tracker.latest
        if tracker.asked["view"] == 2:
            await is_answered.wait()
        return view

    monkeypatch.setattr(tracker, "view", view)
    early = asyncio.create_task(waits.until_changed("a", "none", TIMEOUT))
    await asked(tracker, "view", 2)
    late = asyncio.create_task(waits.until_changed("a", "none", TIMEOUT))
    await asked(tracker, "view", 3)
    tracker.latest = FURTHER
    await asyncio.sleep(0.01)
    early.cancel()
    await asyncio.sleep(0)
    is_answered.set()
    assert await late == FURTHER
    assert tracker.asked["view"] == 4
