"""A store fails at any of its writes, or does not answer. No accepted job is lost and none runs twice."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from serve_app.jobs import durable_tracker as actor_module
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.errors import NoRoomError
from serve_app.jobs.model import Checkpoint, Client, IdempotencyKey, Job, JobState, NewJob
from serve_app.jobs.storing.store import MemoryJobStore, StoreError
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from tests.job_tracking import WORK
from tests.runner_server import eventually

SPEC = JobSpec(GenerateRequest(), seeds=(1,))
RESULT: dict[str, Any] = {"timings": {"denoising": 1.0}}
WRITES = 14
"""At least the number of writes that the scenario makes."""


class FaultyStore(MemoryJobStore):
    """Fails at some writes: before it has written (`refuses`), or afterwards, so that its answer is lost."""

    def __init__(self, failing: range, refuses: bool) -> None:
        super().__init__()
        self.writes = 0
        self._failing = failing
        self._refuses = refuses

    def write(self, changes: Mapping[str, Job | None]) -> None:
        self.writes += 1
        fails = self.writes in self._failing
        if not (fails and self._refuses):
            super().write(changes)
        if fails:
            raise StoreError("the disk is full" if self._refuses else "no answer in time")


async def answered(call: Callable[[], Any]) -> Any:
    """Repeat a call until it is answered, as runners do."""
    while True:
        try:
            return await call()
        except StoreError:
            await asyncio.sleep(0.001)


class Scenario:
    """Two clients submit three jobs. One is cancelled and one fails once. A runner completes the others."""

    def __init__(self, settings: Settings) -> None:
        self.actor = DurableTracker(settings)
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.attempts: list[tuple[str, int]] = []
        """The attempts that runners were given."""

    async def submit(self, name: str) -> str:
        """Submit as a client does. After a refusal it sends another job with the same key."""
        for number in range(100):
            job_id = f"{name}-{number}"
            new = NewJob(job_id, SPEC, WORK, Client("ann"), idempotency=IdempotencyKey(name, "this"))
            try:
                accepted = await self.actor.submit(new)
            except NoRoomError:
                self.refused.append(job_id)
                await asyncio.sleep(0.002)
            else:
                self.accepted.append(accepted.job_id)
                return accepted.job_id
        raise AssertionError("the tracker takes no job")

    async def run_one(self, fails: bool = False) -> str:
        token = f"token {len(self.attempts)}"
        while (claim := await answered(lambda: self.actor.claim(token, 0.005))) is None:
            pass
        job = claim.job
        self.attempts.append((job.job_id, job.attempt))
        assert await answered(lambda: self.actor.checkpoint(job.job_id, token, Checkpoint()))
        if fails:
            await answered(lambda: self.actor.fail(job.job_id, token, "Lost.", True))
        else:
            files = (f"{job.job_id}/{job.attempt}/0.mp3",)
            assert await answered(lambda: self.actor.finish(job.job_id, token, RESULT, files, 10))
        return job.job_id

    async def play(self) -> None:
        first, unwanted = await self.submit("first"), await self.submit("unwanted")
        assert (await self.actor.cancel(unwanted)).state is JobState.CANCELLED  # type: ignore[union-attr]
        assert await self.run_one(fails=True) == first
        last = await self.submit("last")
        assert {await self.run_one(), await self.run_one()} == {first, last}
        await eventually(lambda: not (self.actor._opened and self.actor._opened[1].unwritten))


@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "answer lost"])
@pytest.mark.parametrize("length", [1, 4])
async def test_whichever_writes_fail_the_jobs_end_as_they_would(
    length: int, refuses: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_module, "STORE_CHECK_SECONDS", 0.002)
    settings = Settings(jobs={"store": "memory"}, storage={"uri": str(tmp_path), "sweep_seconds": 1000})
    most = 0
    for begin in range(1, WRITES + 1):
        store = FaultyStore(range(begin, begin + length), refuses)
        monkeypatch.setattr(actor_module, "open_store", lambda _, store=store: store)
        scenario = Scenario(settings)
        async with asyncio.timeout(30):
            await scenario.play()
        first, unwanted, last = scenario.accepted
        stored = {job.job_id: job for job in store.page(None, None, 10**9, 100)}
        states = {name: job.state for name, job in stored.items()}
        assert states == {
            first: JobState.SUCCEEDED,
            unwanted: JobState.CANCELLED,
            last: JobState.SUCCEEDED,
        }, begin
        assert sorted(scenario.attempts) == [(first, 1), (first, 2), (last, 1)]
        assert stored[first].files == (f"{first}/2/0.mp3",)
        assert not set(scenario.refused) & stored.keys()
        most = max(most, store.writes)
        await scenario.actor.close()
    assert most <= WRITES + length, "the scenario writes more often than is tried here"


async def test_a_crash_while_the_store_is_full_loses_nothing_that_was_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner reports its result again to the tracker that starts afterwards."""
    settings = Settings(jobs={"store": "memory"}, storage={"uri": str(tmp_path), "sweep_seconds": 1000})
    store = FaultyStore(range(5, 10**9), refuses=True)
    monkeypatch.setattr(actor_module, "open_store", lambda _: store)
    first = DurableTracker(settings)
    for number in range(3):
        await first.submit(NewJob(f"job-{number}", SPEC, WORK))
    assert await first.claim("token", 0) is not None
    with pytest.raises(StoreError):
        await first.finish("job-0", "token", RESULT, ("file",), 10)
    assert (await first.view("job-0")).state is JobState.SUCCEEDED  # type: ignore[union-attr]
    await first.cancel("job-1")
    second = DurableTracker(settings)
    states = [(await second.view(f"job-{number}")).state for number in range(3)]  # type: ignore[union-attr]
    assert states == [JobState.RUNNING, JobState.QUEUED, JobState.QUEUED]
    store._failing = range(0)
    assert await second.finish("job-0", "token", RESULT, ("file",), 10)
    assert store.get("job-0").state is JobState.SUCCEEDED  # type: ignore[union-attr]
    for actor in (first, second):
        await actor.close()


async def test_a_claim_that_could_not_be_written_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner was told nothing, so the job waits at its place and the attempt does not count."""
    monkeypatch.setattr(actor_module, "STORE_CHECK_SECONDS", 0.002)
    settings = Settings(jobs={"store": "memory"}, storage={"uri": str(tmp_path), "sweep_seconds": 1000})
    store = FaultyStore(range(2, 3), refuses=True)
    monkeypatch.setattr(actor_module, "open_store", lambda _: store)
    actor = DurableTracker(settings)
    await actor.submit(NewJob("job", SPEC, WORK))
    with pytest.raises(StoreError):
        await actor.claim("gone", 0)
    view = await actor.view("job")
    assert view is not None
    assert (view.state, view.attempt, view.queue_position) == (JobState.QUEUED, 0, 1)
    claim = await actor.claim("other", 10)
    assert claim is not None
    assert claim.job.attempt == 1
    await actor.close()


async def test_a_result_that_no_store_can_hold_fails_its_call_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings(
        jobs={"store": str(tmp_path / "jobs.sqlite3")}, storage={"uri": str(tmp_path / "songs")}
    )
    actor = DurableTracker(settings)
    await actor.submit(NewJob("job", SPEC, WORK))
    await actor.claim("token", 0)
    with pytest.raises(TypeError, match="JSON"):
        await actor.finish("job", "token", {"thing": object()}, (), 0)
    assert await actor.finish("job", "token", RESULT, (), 0)
    await actor.close()


class SilentStore(MemoryJobStore):
    """Does not answer while `gate` is closed, like a Redis behind a broken network."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name in {"gate", "close", "noted_unreadable"}:
            return found

        def waits(*arguments: Any) -> Any:
            self.gate.wait(30)
            return found(*arguments)

        return waits


async def test_no_call_waits_for_a_store_that_another_call_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While every call that needs the store hangs, heartbeats and polls of jobs in memory are answered."""
    settings = Settings(jobs={"store": "memory"}, storage={"uri": str(tmp_path)})
    store = SilentStore()
    monkeypatch.setattr(actor_module, "open_store", lambda _: store)
    actor = DurableTracker(settings)
    for number in range(3):
        await actor.submit(NewJob(f"job-{number}", SPEC, WORK))
    assert await actor.claim("token", 0) is not None
    store.gate.clear()
    calls: list[tuple[Any, ...]] = [
        ("view", "unknown"),
        ("page", None, None, 100, 10),
        ("submit", NewJob("job-9", SPEC, WORK)),
        ("cancel", "unknown"),
        ("claim", "other", 0.0),
        ("checkpoint", "job-0", "token", Checkpoint()),
        ("cancel", "job-2"),
    ]
    hanging = [asyncio.create_task(getattr(actor, name)(*arguments)) for name, *arguments in calls]
    opening = asyncio.create_task(DurableTracker(settings).stats())
    for _ in range(20):
        await asyncio.sleep(0.005)
        assert await actor.heartbeat("job-0", "token", "denoising", 0.5)
        assert (await actor.view("job-0")).state is JobState.RUNNING  # type: ignore[union-attr]
        assert (await actor.view("job-2")).state is JobState.CANCELLED  # type: ignore[union-attr]
        assert await actor.secret()
        assert not await actor.lease_lost("job-0", "token", 0.0)
    assert not any(call.done() for call in [*hanging, opening])
    store.gate.set()
    await asyncio.gather(*hanging, opening)
    await actor.close()


async def test_polls_show_an_end_once_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_module, "PATIENCE_SECONDS", 30.0)
    settings = Settings(jobs={"store": "memory"}, storage={"uri": str(tmp_path), "sweep_seconds": 1000})
    store = SilentStore()
    monkeypatch.setattr(actor_module, "open_store", lambda _: store)
    actor = DurableTracker(settings)
    await actor.submit(NewJob("job", SPEC, WORK))
    assert await actor.claim("token", 0) is not None
    before = (await actor.view("job")).version  # type: ignore[union-attr]
    store.gate.clear()
    finishing = asyncio.create_task(actor.finish("job", "token", RESULT, (), 0))
    polls = [asyncio.create_task(actor.view("job")), asyncio.create_task(actor.wait("job", before, 60.0))]
    await asyncio.sleep(0.05)
    assert not any(poll.done() for poll in polls)
    store.gate.set()
    assert [view.state for view in await asyncio.gather(*polls)] == [JobState.SUCCEEDED] * 2  # type: ignore[union-attr]
    assert store.get("job").state is JobState.SUCCEEDED  # type: ignore[union-attr]
    await finishing
    await actor.close()
