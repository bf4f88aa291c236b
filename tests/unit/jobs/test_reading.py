"""Reads that processes of the API answer from memory: never an older state than any client has seen."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from serve_app import shared_waits
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.errors import JobEndedError
from serve_app.jobs.model import Client, JobState, JobView, NewJob
from serve_app.jobs.reading import reader as reading
from serve_app.jobs.reading.news import LEASE_SECONDS
from serve_app.jobs.reading.reader import JobReader
from serve_app.jobs.surroundings import Surroundings
from serve_app.jobs.tracker_api import TrackerApi, client_over
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.shared_waits import WAKES_AT_ONCE, SharedWaits
from tests.job_tracking import WORK, Clock

SPEC = JobSpec(GenerateRequest(), seeds=(1,))
SOON = 30.0
"""Seconds after which a wait that would otherwise never end fails."""
RESULT: dict[str, Any] = {"timings": {"denoising": 0.01}, "audio_codes": [None]}


class Network:
    """The calls of one process to a tracker: they are counted, and wait while the network is cut."""

    def __init__(self, tracker: DurableTracker) -> None:
        self.tracker = tracker
        self.calls: Counter[str] = Counter()
        self._whole = asyncio.Event()
        self._whole.set()
        self.client: TrackerApi = client_over(self._call)

    async def _call(self, method: str, *arguments: Any) -> Any:
        self.calls[method] += 1
        await self._whole.wait()
        answer = await getattr(self.tracker, method)(*arguments)
        await self._whole.wait()
        return answer

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()


class Replica:
    """A process of the API."""

    def __init__(self, tracker: DurableTracker) -> None:
        self.network = Network(tracker)
        self.reader = JobReader(self.network.client)
        self.waits = SharedWaits(self.reader, cores=2)

    @property
    def asked(self) -> int:
        """How often the tracker was asked about a job."""
        return sum(self.network.calls[name] for name in ("view", "wait"))

    async def view(self, job_id: str) -> JobView:
        view = await self.reader.view(job_id)
        assert view is not None
        return view

    async def until_it_answers(self, job_id: str) -> None:
        """Read an open job until the answer comes from memory."""
        async with asyncio.timeout(SOON):
            while True:
                before = self.asked
                await self.view(job_id)
                if self.asked == before:
                    return
                await asyncio.sleep(0.01)

    async def until_it_says(self, job_id: str, state: JobState, progress: float = 0.0) -> None:
        """Read a job until it has this state and at least this progress."""
        async with asyncio.timeout(SOON):
            while (view := await self.view(job_id)).state is not state or view.progress < progress:  # noqa: ASYNC110, nobody else tells
                await asyncio.sleep(0.005)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(jobs={"store": str(tmp_path / "jobs.sqlite3")}, storage={"uri": str(tmp_path / "output")})


@pytest.fixture
async def tracker(settings: Settings) -> AsyncIterator[DurableTracker]:
    tracker = DurableTracker(settings)
    yield tracker
    await tracker.close()


@asynccontextmanager
async def replica_of(tracker: DurableTracker) -> AsyncIterator[Replica]:
    replica = Replica(tracker)
    try:
        yield replica
    finally:
        replica.network.mend()
        await replica.reader.stop()


@pytest.fixture
async def replicas(tracker: DurableTracker) -> AsyncIterator[tuple[Replica, Replica]]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(replica_of(tracker))
        yield first, await stack.enter_async_context(replica_of(tracker))


async def submit(tracker: DurableTracker, *job_ids: str, client: str = "me", priority: int = 0) -> None:
    for job_id in job_ids:
        await tracker.submit(NewJob(job_id, SPEC, WORK, Client(client), priority))


async def claimed(tracker: DurableTracker) -> str:
    claim = await tracker.claim("token", 0)
    assert claim is not None
    return claim.job.job_id


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110, nobody else tells
            await asyncio.sleep(0.005)


async def test_polls_are_answered_without_the_tracker(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    replica, _ = replicas
    await submit(tracker, "a", "b", "c")
    await claimed(tracker)
    await tracker.heartbeat("a", "token", "denoising", 0.5, None)
    for job_id in "abc":
        await replica.until_it_answers(job_id)
    asked = replica.asked
    for job_id in "abc" * 20:
        await replica.view(job_id)
    assert replica.asked == asked


async def test_an_answer_from_memory_is_that_of_the_tracker(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    replica, _ = replicas
    await submit(tracker, *(f"early {number}" for number in range(3)))
    for number in range(3):
        assert await tracker.finish(await claimed(tracker), "token", RESULT, (), 0), number
    await submit(tracker, *(f"mine {number}" for number in range(60)))
    await submit(tracker, *(f"yours {number}" for number in range(20)), client="you", priority=3)
    running = await claimed(tracker)
    await tracker.heartbeat(running, "token", "denoising", 0.4, None)
    with pytest.raises(JobEndedError):
        await tracker.cancel("early 0")
    await tracker.cancel("mine 7")
    await replica.until_it_answers("mine 59")
    for job_id in (running, "mine 3", "mine 59", "yours 19", "early 1", "mine 7"):
        await replica.view(job_id)  # An ended job is asked for once.
        asked = replica.asked
        remembered, told = await replica.view(job_id), await tracker.view(job_id)
        assert replica.asked == asked
        assert told is not None
        assert replace(remembered, eta_seconds=None) == replace(told, eta_seconds=None)
        assert remembered.eta_seconds == pytest.approx(told.eta_seconds, abs=1.0)
        assert remembered.version == told.version


async def test_a_change_is_shown_once_every_replica_knows_it(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    first, second = replicas
    await submit(tracker, "a")
    for replica in replicas:
        await replica.until_it_answers("a")
    second.network.cut()
    assert await claimed(tracker) == "a"
    news = first.network.calls["follow"]
    await until(lambda: first.network.calls["follow"] > news)
    reading_first = asyncio.create_task(first.view("a"))
    await asyncio.sleep(0.1)
    assert (await second.view("a")).state is JobState.QUEUED
    assert not reading_first.done()
    second.network.mend()
    assert (await reading_first).state is JobState.RUNNING
    assert (await second.view("a")).state is JobState.RUNNING


async def test_a_replica_that_is_cut_off_answers_nothing_when_the_others_go_on(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    first, second = replicas
    await submit(tracker, "a")
    for replica in replicas:
        await replica.until_it_answers("a")
    second.network.cut()
    cut_at = asyncio.get_running_loop().time()
    await claimed(tracker)
    await first.until_it_says("a", JobState.RUNNING)
    assert asyncio.get_running_loop().time() - cut_at >= LEASE_SECONDS / 2
    reading_second = asyncio.create_task(second.view("a"))
    await until(lambda: second.network.calls["view"] > 0)
    second.network.mend()
    assert (await reading_second).state is JobState.RUNNING


@pytest.mark.parametrize("end", ["cancel", "purge_job", "finish"])
async def test_an_end_that_was_acknowledged_is_seen_by_all(
    tracker: DurableTracker, replicas: tuple[Replica, Replica], end: str
) -> None:
    _, second = replicas
    await submit(tracker, "a", "b")
    await claimed(tracker)
    await second.until_it_answers("a")
    second.network.cut()
    if end == "cancel":
        ending = asyncio.create_task(tracker.cancel("a"))
    elif end == "purge_job":
        ending = asyncio.create_task(tracker.purge_job("a", "me"))
    else:
        await tracker.finish("a", "token", RESULT, (), 0)
        ending = asyncio.create_task(tracker.view("a"))
    await asyncio.sleep(0.1)
    assert (await second.view("a")).state is JobState.RUNNING
    assert not ending.done()
    second.network.mend()
    await ending
    seen = await second.reader.view("a")
    assert (None if seen is None else seen.state) == {
        "cancel": JobState.CANCELLED,
        "purge_job": None,
        "finish": JobState.SUCCEEDED,
    }[end]


async def test_polls_say_that_a_job_was_purged_when_all_replicas_know(settings: Settings) -> None:
    # The clock stands still, so that no lease ends.
    tracker = DurableTracker(settings, outside=Surroundings(steady=Clock()))
    async with replica_of(tracker) as replica:
        await submit(tracker, "a")
        await replica.until_it_answers("a")
        replica.network.cut()
        purging = asyncio.create_task(tracker.purge_job("a", "me"))
        polls = [asyncio.create_task(poll) for poll in (tracker.view("a"), tracker.wait_end("a", SOON))]
        answered, _ = await asyncio.wait(polls, timeout=0.1)
        assert not answered
        replica.network.mend()
        assert await asyncio.gather(*polls) == [None, None]
        assert await replica.reader.view("a") is None
        assert await purging is True
    await tracker.close()


async def test_an_ended_job_is_remembered_until_it_changes(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    first, second = replicas
    await submit(tracker, "a", "b")
    await tracker.finish(await claimed(tracker), "token", RESULT, (), 0)
    for replica in replicas:
        await replica.until_it_answers("b")
        await replica.view("a")
        asked = replica.asked
        assert (await replica.view("a")).state is JobState.SUCCEEDED
        assert replica.asked == asked
    assert await tracker.purge_job("a", "me") is not None
    assert await first.reader.view("a") is None
    assert await second.reader.view("a") is None


async def test_a_wait_ends_with_the_change_and_asks_nobody(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    replica, _ = replicas
    await submit(tracker, "a", "b", "c")
    await replica.until_it_answers("c")
    version = (await replica.view("c")).version
    asked = replica.network.calls["wait"]
    news = asyncio.create_task(replica.reader.wait("c", version, SOON))
    change = asyncio.create_task(replica.waits.until_stage_changes("a", "me", SOON))
    end = asyncio.create_task(replica.waits.until_ended("a", SOON))
    await asyncio.sleep(0.05)
    assert not news.done()
    await claimed(tracker)
    moved, begun = await news, await change
    assert moved is not None
    assert begun is not None
    assert (moved.queue_position, begun.state) == (2, JobState.RUNNING)
    assert not end.done()
    await tracker.finish("a", "token", RESULT, (), 0)
    ended = await end
    assert ended is not None
    assert ended.state is JobState.SUCCEEDED
    assert replica.network.calls["wait"] == asked


async def test_many_who_wait_for_their_turn_cost_nothing_while_others_move_them(
    tracker: DurableTracker, replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_waits, "NEWS_PER_SECOND_AND_CORE", 0.001)
    replica, _ = replicas
    waits = SharedWaits(replica.reader, cores=2)
    await submit(
        tracker, *(f"first-{number}" for number in range(5)), *(f"job-{number}" for number in range(40))
    )
    await replica.until_it_answers("job-39")
    clients = [
        asyncio.create_task(waits.until_changed(f"job-{number}", "none", SOON)) for number in range(40)
    ]
    await until(lambda: sum(client.done() for client in clients) >= WAKES_AT_ONCE)
    seen: Counter[str] = Counter()
    monkeypatch.setattr(replica.reader, "view", counting(replica.reader.view, seen))
    for _ in range(5):
        job_id = await claimed(tracker)
        await tracker.finish(job_id, "token", RESULT, (), 0)
    await replica.until_it_answers("job-39")
    assert not {f"job-{number}" for number in range(39)} & set(seen)
    ended = await tracker.cancel("job-38")
    assert ended is not None
    told = await clients[38]
    assert told is not None
    assert told.state is JobState.CANCELLED
    for client in clients:
        client.cancel()


async def test_who_knows_an_older_state_does_not_wait_for_a_change(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    """A job may change between a read of it and the wait for its next change."""
    replica, _ = replicas
    await submit(tracker, "a")
    await replica.until_it_answers("a")
    queued = await replica.view("a")
    await claimed(tracker)
    await replica.until_it_says("a", JobState.RUNNING)
    await replica.until_it_answers("a")
    async with asyncio.timeout(SOON):
        await replica.reader.until_job_changes(queued, 10 * SOON)


def counting(read: Callable[[str], Any], seen: Counter[str]) -> Callable[[str], Any]:
    async def view(job_id: str) -> JobView | None:
        seen[job_id] += 1
        view: JobView | None = await read(job_id)
        return view

    return view


async def test_a_wait_goes_on_where_the_network_is_cut(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    replica, _ = replicas
    await submit(tracker, "a")
    await replica.until_it_answers("a")
    end = asyncio.create_task(replica.waits.until_ended("a", SOON))
    await asyncio.sleep(0.05)
    replica.network.cut()
    await tracker.finish(await claimed(tracker), "token", RESULT, (), 0)
    await until(lambda: replica.network.calls["view"] + replica.network.calls["wait"] > 1)
    replica.network.mend()
    ended = await end
    assert ended is not None
    assert ended.state is JobState.SUCCEEDED


async def test_waits_for_unknown_jobs_leave_nothing_behind(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    replica, _ = replicas
    await submit(tracker, "a")
    await replica.until_it_answers("a")
    for number in range(50):
        assert await replica.waits.until_ended(f"unknown {number}", 1.0) is None
    assert not replica.reader._job_changed
    assert not replica.reader._queue_changed
    assert not replica.reader._asked


async def test_the_replicas_of_a_tracker_before_are_waited_for(settings: Settings) -> None:
    before = DurableTracker(settings)
    async with replica_of(before) as replica:
        await submit(before, "a")
        await replica.until_it_answers("a")
        replica.network.cut()  # It does not notice that the tracker is another.
        await before.close()
        tracker = DurableTracker(settings, has_predecessor=True)
        cancelling = asyncio.create_task(tracker.cancel("a"))
        await asyncio.sleep(0.1)
        assert (await replica.view("a")).state is JobState.QUEUED
        assert not cancelling.done()
        cancelled = await cancelling
        assert cancelled is not None
        replica.network.tracker = tracker
        replica.network.mend()
        assert (await replica.view("a")).state is JobState.CANCELLED
        await tracker.close()


async def test_an_end_that_the_replicas_of_a_tracker_before_may_not_know_is_shown_when_their_leases_are_over(
    settings: Settings,
) -> None:
    """Until then no sweep settles the job, whose end the next tracker would show at once."""
    storage = settings.storage.model_copy(update={"sweep_seconds": 0.05})
    before = DurableTracker(settings.model_copy(update={"storage": storage}))
    async with replica_of(before) as replica:
        await submit(before, "a")
        await claimed(before)
        await replica.until_it_answers("a")
        replica.network.cut()
        await before.finish("a", "token", RESULT, (), 0)
        await asyncio.sleep(0.3)
        await before.close()
        tracker = DurableTracker(settings, has_predecessor=True)
        looking = asyncio.create_task(tracker.view("a"))
        await asyncio.sleep(0.1)
        assert (await replica.view("a")).state is JobState.RUNNING
        assert not looking.done()
        ended = await looking
        assert ended is not None
        assert ended.state is JobState.SUCCEEDED
        replica.network.tracker = tracker
        replica.network.mend()
        assert (await replica.view("a")).state is JobState.SUCCEEDED
        await tracker.close()


async def test_a_replica_follows_the_next_tracker(settings: Settings) -> None:
    before = DurableTracker(settings)
    async with replica_of(before) as replica:
        await submit(before, "a", "b")
        await replica.until_it_answers("b")
        await before.close()
        tracker = DurableTracker(settings, has_predecessor=True)
        replica.network.tracker = tracker
        await tracker.cancel("a")
        assert (await replica.view("b")).queue_position == 1
        await replica.until_it_answers("b")
        assert (await replica.view("b")).queue_position == 1
        await tracker.close()


async def test_no_change_waits_for_a_replica_that_has_stopped(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    first, second = replicas
    await submit(tracker, "a")
    for replica in replicas:
        await replica.until_it_answers("a")
    await second.reader.stop()
    assert tracker._feed is not None
    assert tracker._feed._followers.keys() == {first.reader._name}
    second.network.cut()
    await tracker.cancel("a")
    assert (await first.view("a")).state is JobState.CANCELLED
    second.network.mend()
    assert (await second.view("a")).state is JobState.CANCELLED
    assert second.asked > 0


async def test_a_tracker_of_an_earlier_release_is_asked(tracker: DurableTracker) -> None:
    async def call(method: str, *arguments: Any) -> Any:
        if method in {"open_jobs", "follow"}:
            raise AttributeError(method)
        return await getattr(tracker, method)(*arguments)

    reader = JobReader(client_over(call))
    await submit(tracker, "a")
    for _ in range(3):
        view = await reader.view("a")
        assert view is not None
        assert view.queue_position == 1
    await reader.stop()


async def test_few_reads_ask_at_a_time(tracker: DurableTracker, replicas: tuple[Replica, Replica]) -> None:
    replica, _ = replicas
    job_ids = [f"job {number}" for number in range(3 * reading.ASKED_AT_ONCE)]
    await submit(tracker, *job_ids)
    replica.network.cut()
    reads = [asyncio.create_task(replica.view(job_id)) for job_id in job_ids]
    await until(lambda: replica.network.calls["view"] > 0)
    await asyncio.sleep(0.05)
    assert replica.network.calls["view"] == reading.ASKED_AT_ONCE
    replica.network.mend()
    assert [view.job_id for view in await asyncio.gather(*reads)] == job_ids


async def test_a_copy_comes_in_pages(
    tracker: DurableTracker, replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_JOBS", 4)
    replica, _ = replicas
    await submit(tracker, *(f"job {number}" for number in range(10)))
    await replica.until_it_answers("job 9")
    assert replica.network.calls["open_jobs"] == 3
    asked = replica.asked
    positions = [(await replica.view(f"job {number}")).queue_position for number in range(10)]
    assert positions == list(range(1, 11))
    assert replica.asked == asked


async def test_copies_at_the_same_time_are_whole(tracker: DurableTracker) -> None:
    await submit(tracker, *(f"job {number}" for number in range(6)))
    first = await tracker.open_jobs(-1, 2)
    await submit(tracker, "late")
    await tracker.cancel("job 3")
    copies = [[first], [await tracker.open_jobs(-1, 4)]]
    while any(pages[-1].next_after is not None for pages in copies):
        for pages in copies:
            if (after := pages[-1].next_after) is not None:
                pages.append(await tracker.open_jobs(after, 2))
    for name, pages in zip("ab", copies, strict=True):
        known = {job.view.job_id for page in pages for job in page.jobs}
        number, confirmed = pages[0].number, -1
        async with asyncio.timeout(SOON):
            while known != {"job 0", "job 1", "job 2", "job 4", "job 5", "late"}:
                news = await tracker.follow(name, pages[0].tracker, number, confirmed)
                assert news is not None
                known |= {job_id for job_id, change in news.changes.items() if change.job is not None}
                known -= {job_id for job_id, change in news.changes.items() if change.job is None}
                number, confirmed = news.number, news.confirmed


async def test_nobody_follows_while_nobody_reads(
    tracker: DurableTracker, replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, _ = replicas
    await submit(tracker, "a")
    await replica.until_it_answers("a")
    monkeypatch.setattr(reading, "IDLE_SECONDS", 0.0)
    following = replica.reader._following
    assert following is not None
    await until(following.done)
    assert replica.network.calls["unfollow"] == 1
    monkeypatch.setattr(reading, "IDLE_SECONDS", 60.0)
    await replica.until_it_answers("a")


async def test_news_tell_only_of_the_attempts_that_have_changed(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    replica, _ = replicas
    await submit(tracker, "a", "b", "c")
    for token in ("first", "second"):
        assert await tracker.claim(token, 0)
    for job_id in "abc":
        await replica.until_it_answers(job_id)
    page = await tracker.open_jobs(-1, 10)
    assert [job.run is not None for job in page.jobs] == [True, True, False]
    await tracker.heartbeat("a", "first", "denoising", 0.5, None)
    number, confirmed = page.number, -1
    async with asyncio.timeout(SOON):
        while number == page.number:
            news = await tracker.follow("reader", page.tracker, number, confirmed)
            assert news is not None
            number, confirmed = news.number, news.confirmed
    assert news.changes.keys() == {"a"}
    assert news.figures is not None
    assert not news.figures.runs


async def test_many_changes_are_few_messages(
    tracker: DurableTracker, replicas: tuple[Replica, Replica]
) -> None:
    replica, _ = replicas
    await submit(tracker, "a")
    await replica.until_it_answers("a")
    await claimed(tracker)
    before = replica.network.calls["follow"]
    for step in range(500):
        await tracker.heartbeat("a", "token", "denoising", step / 1000, None)
    await replica.until_it_says("a", JobState.RUNNING, progress=0.499)
    assert replica.network.calls["follow"] - before < 100
