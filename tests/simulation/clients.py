"""Clients that submit as the HTTP API does, repeat what failed, poll in all three ways, cancel and purge.

Each has a process of the API with a reader of its own. Its polls go to any of them, as behind a proxy.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import ray.exceptions

from deployments.common.errors import StorageError
from serve_app.jobs.batches import BatchAccepted
from serve_app.jobs.clocks import Clock
from serve_app.jobs.errors import (
    DrainingError,
    IdempotencyConflictError,
    JobEndedError,
    LimitError,
    NoRoomError,
)
from serve_app.jobs.housekeeping.identity import store_name
from serve_app.jobs.model import Client, IdempotencyKey, JobView, NewJob
from serve_app.jobs.reading.reader import JobReader
from serve_app.jobs.storing.store import StoreError
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording
from serve_app.request.work import Work
from serve_app.shared_waits import SharedWaits
from tests.simulation.database import SECRET
from tests.simulation.loop import Process
from tests.simulation.schedule import CLIENTS, Request
from tests.simulation.storage import SONG_BYTES

if TYPE_CHECKING:
    from tests.simulation.world import World

AWAY = (StoreError, TimeoutError, ray.exceptions.RayActorError)
"""Errors after which nobody knows whether a call had its effect."""
RECEIVER = "http://93.184.216.34/ended"
CORES = 2
_STORE = store_name(SECRET)
_GIVEN = {"bpm": 100, "key_scale": "C", "time_signature": "4/4"}
_specs: dict[tuple[Any, ...], JobSpec] = {}
_Answer = TypeVar("_Answer")


def _spec(request: Request) -> JobSpec:
    """Return the specification of a request, without its recording."""
    has_callback = request.has_callback and request.jobs == 1
    kind = (
        *(request.song_seconds, request.items, request.thinks),
        *(request.has_recording, has_callback, request.start_within),
    )
    if kind not in _specs:
        fields: dict[str, Any] = {
            **_GIVEN,
            "audio_duration": request.song_seconds,
            "thinking": request.thinks,
            "start_within_seconds": request.start_within,
        }
        if request.has_recording:
            fields |= {"task_type": "cover", "src_audio_path": "given"}
        if has_callback:
            fields["callback_url"] = RECEIVER
        _specs[kind] = JobSpec(GenerateRequest(**fields), seeds=tuple(range(request.items)))
    return _specs[kind]


def _work(request: Request) -> Work:
    seconds = request.song_seconds * request.items
    calls = (0.0, float(request.thinks), 1.0, 1.0, 1.0)
    return Work(1, calls, (0.0, 5.0 * seconds * request.thinks, 8.0 * seconds, seconds, seconds))


def _key(request: Request) -> IdempotencyKey | None:
    """Return the idempotency key of a request. All requests of one kind with one key are the same."""
    if request.key is None:
        return None
    return IdempotencyKey(request.key, "the same request" if request.jobs == 1 else "the same batch")


class Reads:
    """The reads of one process of the API."""

    def __init__(self, process: Process, tracker: TrackerApi, steady: Clock) -> None:
        self.process = process
        self._reader = JobReader(tracker, steady, process.context.copy)
        self._waits = SharedWaits(self._reader, CORES, process.context.copy)

    def start(self, way: str, job_id: str) -> asyncio.Task[JobView | None]:
        """Let the process answer."""
        return self.process.start(self._answer(way, job_id))

    async def _answer(self, way: str, job_id: str) -> JobView | None:
        """Answer a poll ("view"), the first event of a stream ("events") or a long poll ("long poll")."""
        if way == "view":
            return await self._reader.view(job_id)
        if way == "events":
            return await self._waits.until_changed(job_id, "none", 5.0)
        return await self._waits.until_stage_changes(job_id, None, 5.0)


class SimulatedClient:
    """One client, with the process of the API that its requests go through."""

    def __init__(self, world: "World", process: Process) -> None:
        self._world = world
        self._process = process
        self._rng = world.rng_of(f"client {process.name}")
        self._tracker: TrackerApi

    async def run(self, requests: list[Request]) -> None:
        """Make all requests of the client, and follow each until its job has ended."""
        self._tracker = self._world.cluster.client(self._process)
        steady = self._world.steady_clock_of(self._process)
        self._world.reads.append(Reads(self._process, self._tracker, steady))
        await asyncio.gather(*(self._follow(request) for request in requests))

    async def _follow(self, request: Request) -> None:
        await asyncio.sleep(request.at)
        accepted = await self._submit(request)
        if accepted is None:
            return
        first, *others = [job.job_id for job in accepted.jobs]
        beside = []
        if request.cancel_after is not None:
            beside.append(asyncio.create_task(self._cancel(accepted, request.cancel_after)))
        if request.purge_after is not None:
            beside.append(asyncio.create_task(self._purge(request.client, first, request.purge_after)))
        beside += [asyncio.create_task(self._poll(job_id)) for job_id in others]
        await self._poll(first)
        for task in beside:
            await task

    async def _submit(self, request: Request) -> BatchAccepted | None:
        """Submit until the server accepts. A job alone is returned as a batch without an id."""
        world = self._world
        while True:
            news = [self._new_job(request, number) for number in range(request.jobs)]
            asked_at = world.loop.time()
            world.referee.will_be_submitted(news)
            try:
                for new in news:
                    if new.spec.source is not None:
                        await asyncio.to_thread(world.storage.put, new.spec.source.uri, "recording")
                if len(news) == 1:
                    accepted = BatchAccepted("", (await self._tracker.submit(news[0]),))
                else:
                    callback = RECEIVER if request.has_callback else None
                    accepted = await self._tracker.submit_batch(tuple(news), callback)
                    world.note("batches accepted")
            except (LimitError, DrainingError):
                await self._delete_recordings(news)
            except IdempotencyConflictError:
                # A request of the other kind has this key, or jobs of its batch were purged.
                await self._delete_recordings(news)
                return None
            except (NoRoomError, StorageError):
                pass
            except AWAY:
                if request.key is None:
                    return None  # It may have been accepted, so the client cannot repeat it.
            else:
                world.referee.was_accepted(request, news, accepted, asked_at)
                known = {job.job_id for job in accepted.jobs}
                await self._delete_recordings([new for new in news if new.job_id not in known])
                return accepted
            await asyncio.sleep(self._rng.uniform(1, 3))

    async def _delete_recordings(self, news: list[NewJob]) -> None:
        for new in news:
            await self._delete_recording(new)

    async def _delete_recording(self, new: NewJob) -> None:
        if new.spec.source is not None:
            try:
                await asyncio.to_thread(self._world.storage.delete_job, new.job_id)
            except StorageError:
                self._world.strays.add(new.job_id)

    def _new_job(self, request: Request, number: int) -> NewJob:
        """Make one of the jobs of a request. The first has the idempotency key."""
        job_id = new_id(self._rng)
        spec = _spec(request)
        if request.has_recording:
            uri = self._world.storage.recording_uri(job_id, "source")
            spec = replace(spec, source=Recording(uri, request.song_seconds))
        return NewJob(
            job_id,
            spec,
            _work(request),
            Client(request.client, CLIENTS[request.client]),
            priority=request.priority,
            uploaded_bytes=SONG_BYTES if request.has_recording else 0,
            idempotency=_key(request) if number == 0 else None,
        )

    async def _poll(self, job_id: str) -> None:
        name = self._process.name
        poller = f"{name} {self._rng.random()}"  # each follower of a job sees it by itself
        while True:
            way = self._rng.choice(("view", "events", "long poll"))
            asked_at = self._world.loop.time()
            reads = self._rng.choice(self._world.reads)
            view = await self._answered(lambda way=way, reads=reads: reads.start(way, job_id))
            self._world.referee.was_seen(f"{poller} through {reads.process.name}", job_id, view)
            self._world.referee.was_read(job_id, asked_at, view)
            if view is None or view.state.is_final:
                await self._poll_everywhere(job_id)
                return
            if self._rng.random() < 0.5:
                await self._poll_everywhere(job_id)
            await asyncio.sleep(self._rng.uniform(0.5, 3))

    async def _poll_everywhere(self, job_id: str) -> None:
        """Ask each process of the API at the same moment."""
        asked_at = self._world.loop.time()
        asked = [reads.start("view", job_id) for reads in self._world.reads]
        for answer in asked:
            with suppress(*AWAY):
                self._world.referee.was_read(job_id, asked_at, await answer)

    async def _cancel(self, accepted: BatchAccepted, after: float) -> None:
        await asyncio.sleep(after)
        job_id = accepted.jobs[0].job_id
        if accepted.batch_id:
            await self._answered(lambda: self._tracker.cancel_batch(accepted.batch_id, None))
            return
        with suppress(JobEndedError):
            asked_at = self._world.loop.time()
            view = await self._answered(lambda: self._tracker.cancel(job_id))
            self._world.referee.was_read(job_id, asked_at, view)

    async def _purge(self, client: str, job_id: str, after: float) -> None:
        await asyncio.sleep(after)
        self._world.referee.will_be_purged(job_id)
        await self._answered(lambda: self._tracker.purge_job(job_id, client))
        self._world.note("jobs purged")
        self._world.referee.was_purged(job_id)
        await self._poll_everywhere(job_id)

    async def _answered(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        while True:
            try:
                return await ask()
            except AWAY:
                await asyncio.sleep(1.0)


def new_id(rng: random.Random) -> str:
    """Return a job id with the name of the simulated store (`housekeeping.identity`)."""
    bits = (rng.getrandbits(12), rng.getrandbits(12), rng.getrandbits(48))
    return "{}-{}-8{:03x}-8{:03x}-{:012x}".format(_STORE[:8], _STORE[8:], *bits)


class Receivers(httpx.AsyncBaseTransport):
    """Get callbacks. They may refuse one, get it and not answer, or answer late."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = world.rng_of("receivers")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self._rng.uniform(0.01, 0.3))
        fails = self._world.chance("receivers fail", self._rng)
        if fails and self._rng.random() < 0.3:
            raise httpx.ConnectError("refused")
        told = json.loads(request.content)
        self._world.trace("callback", told["status"])
        if "job_id" in told:
            self._world.referee.was_called_back(told["job_id"], told["status"])
        else:
            self._world.referee.batch_was_called_back(told["batch_id"])
        if fails and self._rng.random() < 0.5:
            await asyncio.sleep(100)
        return httpx.Response(500 if fails else 200)
