"""Models that take simulated seconds, and fail as deployments of Ray Serve do."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TYPE_CHECKING

import ray.exceptions

from deployments.common.errors import EngineError, JobError, StorageError
from deployments.common.messages import (
    AudioCodes,
    AudioFile,
    ComposeRequest,
    DecodeRequest,
    DenoisedLatents,
    DenoiseRequest,
    DescribeRequest,
    EncodedAudio,
    EncodeRequest,
    Metadata,
    Origin,
    PlanRequest,
    Progress,
    RecordingRefs,
    SongDescription,
    Stage,
    TokenizeRequest,
    UsedOptions,
)
from tests.simulation.loop import Process
from tests.simulation.storage import SONG_BYTES

if TYPE_CHECKING:
    from tests.simulation.world import World

_FAILURES: tuple[Callable[[], Exception], ...] = (
    lambda: ray.exceptions.ActorUnavailableError("the replica is unavailable", None),
    ray.exceptions.ActorDiedError,
    ray.exceptions.WorkerCrashedError,
    lambda: ray.exceptions.RayTaskError(
        "denoise", "", EngineError("the engine failed"), "replica", 1, "10.0.0.1"
    ).as_instanceof_cause(),
    ray.exceptions.TaskCancelledError,
    lambda: StorageError("no space"),
    asyncio.CancelledError,
)
_TICKS = 2
"""Pieces of the work of one call, with a progress message after each."""


class SimulatedModels:
    """The models as one runner process calls them."""

    def __init__(self, world: "World", process: Process) -> None:
        self._world = world
        self._process = process
        self._rng = world.rng_of(f"models {process.name}")

    async def plan(self, _language_model: str, request: PlanRequest) -> Metadata:
        await self._work(request.origin, 0.4)
        return Metadata(90, "A minor", "3/4", 10.0)

    async def describe(self, _language_model: str, request: DescribeRequest) -> SongDescription:
        await self._work(request.origin, 0.4)
        return SongDescription(Metadata(95, "B minor", "3/4", 10.0, "described", "fr"), "")

    async def compose(
        self, _language_model: str, request: ComposeRequest
    ) -> AsyncGenerator[Progress | AudioCodes, None]:
        for tick in range(_TICKS):
            await self._work(request.origin, request.code_count / 50 / _TICKS)
            yield Progress("composing", tick + 1, _TICKS)
        yield AudioCodes((1,) * request.code_count)

    async def encode(self, request: EncodeRequest) -> EncodedAudio:
        await self._work(request.origin, 0.2)
        if request.uri not in self._world.storage.files:
            self._world.referee.missed(request.origin.job_id, request.uri)
        return EncodedAudio(None, 1.0)

    async def tokenize(self, _dit: str, request: TokenizeRequest) -> AudioCodes:
        await self._work(request.origin, 0.2)
        return AudioCodes((1,))

    async def denoise(
        self, _dit: str, requests: tuple[DenoiseRequest, ...], _recordings: RecordingRefs
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        for tick in range(_TICKS):
            await self._work(requests[0].origin, sum(one.frames for one in requests) / 25 / 5 / _TICKS)
            for item in range(len(requests)):
                yield item, Progress("denoising", tick + 1, _TICKS)
        for item in range(len(requests)):
            yield item, DenoisedLatents(None, UsedOptions(8, None))

    async def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        yield self._begun("decoding")
        await self._work(request.origin, 0.3)
        world = self._world
        written = asyncio.get_running_loop().create_future()
        seconds = self._rng.uniform(0.05, 0.5)
        # The file is written in a process of its own, which may not hear that its caller has gone.
        handle = world.later(seconds, self._write, request, written)
        try:
            error = await written
        except asyncio.CancelledError:
            if self._rng.random() < 0.5:
                handle.cancel()
            else:
                world.strays.add(request.origin.job_id)
            raise
        if error is not None:
            raise error
        yield AudioFile(request.uri, SONG_BYTES, {"encoding": 0.0})

    def _write(self, request: DecodeRequest, written: "asyncio.Future[Exception | None]") -> None:
        error: Exception | None = None
        if not self._process.alive:
            self._world.strays.add(request.origin.job_id)
        try:
            self._world.storage.put(request.uri, request.origin.job_id)
        except StorageError as problem:
            error = problem
        answer = partial(_unless_done, written, error)
        self._world.later_in(self._process, 0.001, answer)

    @staticmethod
    def _begun(stage: Stage) -> Progress:
        return Progress(stage, 0, 1)

    async def _work(self, origin: Origin, seconds: float) -> None:
        world = self._world
        if world.chance("models fail", self._rng):
            await asyncio.sleep(self._rng.uniform(0, seconds))
            raise self._rng.choice(_FAILURES)()
        if world.chance("models hang", self._rng):
            await asyncio.sleep(1e6)
        if self._rng.random() < 0.002:
            raise JobError("The text is too long.")
        await asyncio.sleep(seconds * self._rng.uniform(0.8, 1.2))
        world.referee.works(self._process.name, origin.job_id, world.went_on_at.get(self._process.name, 0.0))


def _unless_done(future: "asyncio.Future[Exception | None]", error: Exception | None) -> None:
    if not future.done():
        future.set_result(error)
