"""One forward on each core: as many run at once as there are cores, and each song stays the same."""

import asyncio
import random
import threading
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from deployments.common.messages import Progress
from deployments.generator.batcher import StepBatcher
from deployments.generator.engine import Song, Velocities
from deployments.generator.measurements import Forward
from deployments.generator.step_queue import StepQueue
from tests.integration.generator.test_step_batcher import any_job
from tests.recording_share import RecordingShare
from tests.watched_engine import LONG, ROUNDING, SONG, UNLIMITED, WatchedEngine, latents_alone, run


class WatchedQueue(StepQueue):
    """Records the threads that use the queue."""

    threads: ClassVar[set[int]] = set()

    def __getattribute__(self, name: str) -> Any:
        WatchedQueue.threads.add(threading.get_ident())
        return super().__getattribute__(name)


STEPS = 8
"""Steps of the turbo model."""


class MeetingEngine(WatchedEngine):
    """Records which forwards run at once. The first ones wait until the expected number has begun."""

    def __init__(self, variant: str, forwards: int) -> None:
        super().__init__(variant)
        self.all_there = threading.Barrier(forwards)
        self.begun = 0
        self.running: list[list[int]] = []
        """The frames of the songs of each forward that runs."""
        self.met: list[list[list[int]]] = []
        """The value of `running` at the start of each forward."""
        self._counting = threading.Lock()

    def velocities(self, songs: Sequence[Song]) -> list[Velocities]:
        frames = [song.trajectory.frames for song in songs]
        with self._counting:
            self.begun += 1
            among_the_first = self.begun <= self.all_there.parties
            self.running.append(frames)
            self.met.append([*self.running])
        if among_the_first:
            self.all_there.wait(timeout=30)
        try:
            return super().velocities(songs)
        finally:
            with self._counting:
                self.running.remove(frames)

    @property
    def most_at_once(self) -> int:
        return max(map(len, self.met))


class HangingEngine(WatchedEngine):
    """An engine whose forwards beside the main one hang until they are released."""

    def __init__(self, variant: str) -> None:
        super().__init__(variant)
        self.hangs, self.may_go_on = threading.Event(), threading.Event()

    def velocities(self, songs: Sequence[Song]) -> list[Velocities]:
        if threading.current_thread().name.startswith("dit-beside"):
            self.hangs.set()
            self.may_go_on.wait(timeout=30)
        return super().velocities(songs)


@pytest.mark.parametrize(
    ("cores", "tokens_per_forward"),
    [
        (2, UNLIMITED),
        (3, 1500),
        pytest.param(2, 1500, marks=pytest.mark.slow),
        pytest.param(3, UNLIMITED, marks=pytest.mark.slow),
    ],
)
async def test_24_mixed_jobs_make_what_each_makes_alone(cores: int, tokens_per_forward: int) -> None:
    rng = random.Random(cores)
    jobs = [any_job(rng) for _ in range(24)]
    engine = MeetingEngine("base", cores)
    batcher = StepBatcher(engine, tokens_per_forward, share=RecordingShare(cores))
    together = await asyncio.gather(
        *(run(batcher, request, recordings=recordings) for request, recordings in jobs)
    )
    assert engine.most_at_once == cores
    for (request, recordings), (latents,) in zip(jobs, together, strict=True):
        assert np.abs(latents - latents_alone("base", request, recordings)).max() <= ROUNDING


@pytest.mark.parametrize("songs_of_a_job", [1, 2, 4])
async def test_each_core_has_a_forward_and_no_more(songs_of_a_job: int) -> None:
    engine = MeetingEngine("turbo", forwards=2)
    batcher = StepBatcher(engine, UNLIMITED, share=RecordingShare(cores=2))
    songs = [replace(SONG, seed=seed) for seed in range(4)]
    jobs = [songs[first : first + songs_of_a_job] for first in range(0, 4, songs_of_a_job)]
    await asyncio.gather(*(run(batcher, *job) for job in jobs))
    assert engine.most_at_once == 2
    assert {len(songs) for songs in engine.forwards[2:]} <= {1, 2}


async def test_fewer_songs_than_cores_go_together_on_all_cores() -> None:
    engine, share = WatchedEngine("turbo"), RecordingShare(cores=3)
    await run(StepBatcher(engine, UNLIMITED, share=share), SONG, replace(SONG, seed=1))
    assert [len(songs) for songs in engine.forwards] == [2] * STEPS
    assert share.said == ["threads"] * (2 + STEPS) + ["release"]


async def test_each_forward_takes_one_core_and_all_rest_after_the_last() -> None:
    share = RecordingShare(cores=2)
    await run(StepBatcher(WatchedEngine("turbo"), UNLIMITED, share=share), SONG, replace(SONG, seed=1))
    await asyncio.to_thread(share.released.wait, 30)
    assert share.said[:2] == ["threads", "threads"]  # Both songs are prepared.
    assert sorted(share.said[2:-1]) == ["one thread"] * STEPS + ["threads beside 1"] * STEPS
    assert share.said[-1] == "release"


async def test_a_job_alone_is_always_batched_in_the_same_way() -> None:
    songs = [replace(SONG, frames=frames, seed=frames) for frames in (150, 150, 250, 77, 333)]
    batchings, latents = [], []
    for _ in range(3):
        engine = WatchedEngine("turbo")
        latents.append(await run(StepBatcher(engine, 1000, share=RecordingShare(cores=2)), *songs))
        frames = ([song.trajectory.frames for song in forward] for forward in engine.forwards)
        batchings.append(sorted(frames))
    assert batchings[0] == batchings[1] == batchings[2]
    assert all(np.array_equal(mine, others) for mine, others in zip(latents[0], latents[2], strict=True))


async def test_the_room_is_divided_among_the_forwards() -> None:
    told: list[Forward] = []
    batcher = StepBatcher(WatchedEngine("turbo"), 600, on_forward=told.append, share=RecordingShare(cores=2))
    await asyncio.gather(*(run(batcher, replace(SONG, seed=seed)) for seed in range(8)))
    while_many = told[: len(told) // 2]
    assert all(forward.tokens <= forward.token_slots == 300 for forward in while_many)
    assert max(forward.songs for forward in while_many) > 1


async def test_a_song_that_fails_beside_others_fails_alone() -> None:
    engine = WatchedEngine("turbo")
    engine.refused = 77
    batcher = StepBatcher(engine, UNLIMITED, share=RecordingShare(cores=2))
    bad = [replace(SONG, frames=77, seed=seed) for seed in range(2)]
    good = [replace(SONG, seed=seed) for seed in range(3)]
    answers = await asyncio.gather(*(run(batcher, each) for each in (*bad, *good)), return_exceptions=True)
    assert all(isinstance(answer, ArithmeticError) for answer in answers[:2])
    for request, answer in zip(good, answers[2:], strict=True):
        assert not isinstance(answer, BaseException)
        assert np.abs(answer[0] - latents_alone("turbo", request)).max() <= ROUNDING


async def test_a_job_cancelled_beside_another_stops_within_a_step_and_the_other_goes_on() -> None:
    engine = WatchedEngine("base")
    batcher = StepBatcher(engine, UNLIMITED, share=RecordingShare(cores=2))
    other = asyncio.create_task(run(batcher, replace(LONG, seed=1)))
    async with aclosing(batcher.run([LONG])) as news:
        async for _, answer in news:
            assert isinstance(answer, Progress)
            if answer.done == 3:
                break
    (latents,) = await other
    assert np.abs(latents - latents_alone("base", replace(LONG, seed=1))).max() <= ROUNDING
    steps = sorted({id(song): song.trajectory.step for songs in engine.forwards for song in songs}.values())
    assert steps[0] <= 4
    assert steps[1] == 50


async def test_a_hung_forward_beside_the_main_one_is_noticed() -> None:
    engine = HangingEngine("turbo")
    batcher = StepBatcher(engine, UNLIMITED, share=RecordingShare(cores=2))
    jobs = [asyncio.create_task(run(batcher, replace(SONG, seed=seed))) for seed in range(2)]
    assert await asyncio.to_thread(engine.hangs.wait, 30)
    await asyncio.sleep(0.1)
    with pytest.raises(RuntimeError, match="has been running"):
        batcher.check(stalled_seconds=0.1)
    engine.may_go_on.set()
    await asyncio.gather(*jobs)
    batcher.check(stalled_seconds=0.1)


async def test_songs_longer_than_a_forward_have_all_cores() -> None:
    engine, share = MeetingEngine("turbo", forwards=2), RecordingShare(cores=2)
    batcher = StepBatcher(engine, tokens_per_forward=200, share=share)
    frames = [150, 150, 500, 150, 500]
    await asyncio.gather(*(run(batcher, replace(SONG, frames=n, seed=i)) for i, n in enumerate(frames)))
    assert engine.most_at_once == 2
    assert all(len(running) == 1 for running in engine.met if [500] in running)


async def test_the_songs_of_a_job_do_not_wait_for_a_much_longer_one() -> None:
    engine = MeetingEngine("turbo", forwards=1)
    batcher = StepBatcher(engine, UNLIMITED, share=RecordingShare(cores=2))
    await run(batcher, SONG, replace(SONG, frames=1000))
    assert engine.most_at_once == 1
    assert [len(songs) for songs in engine.forwards] == [2] * STEPS


async def test_what_nobody_expected_beside_makes_the_replica_ill() -> None:
    def fail(forward: Forward) -> None:
        raise LookupError(forward)

    batcher = StepBatcher(WatchedEngine("turbo"), UNLIMITED, on_forward=fail, share=RecordingShare(cores=2))
    with suppress(TimeoutError):
        await asyncio.wait_for(run(batcher, SONG, replace(SONG, seed=1)), timeout=2)
    with pytest.raises(LookupError):
        batcher.check(stalled_seconds=60)


async def test_the_queue_is_used_by_the_event_loop_alone_also_where_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deployments.generator.batcher.StepQueue", WatchedQueue)
    monkeypatch.setattr(WatchedQueue, "threads", set())
    engine = WatchedEngine("turbo")
    engine.memory = 100
    told: list[Forward] = []
    batcher = StepBatcher(engine, UNLIMITED, on_forward=told.append, share=RecordingShare(cores=2))
    await asyncio.gather(*(run(batcher, replace(SONG, seed=seed)) for seed in range(6)))
    assert WatchedQueue.threads == {threading.get_ident()}
    assert max(forward.songs for forward in told) > 1  # These songs did not fit, and the limit was lowered.
    assert told[-1].token_slots < 1000  # and the limit was lowered
