"""A runner with the real tracker, actor code and storage. The models answer as the test says."""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from configs.settings import Settings
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
    PlanRequest,
    Progress,
    RecordingRefs,
    SongDescription,
    TokenizeRequest,
    UsedOptions,
)
from serve_app.execution.runner import Runners
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.model import JobView, NewJob
from serve_app.jobs.tracker_api import client_over
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage
from tests.job_tracking import WORK

GIVEN = {"audio_duration": 1.0, "bpm": 100, "key_scale": "C", "time_signature": "4/4"}
CODES = (1, 2, 3, 4, 5)
SONG = b"a song"


async def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    for _ in range(int(seconds * 100)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"this did not come true within {seconds} s")


@dataclass
class Models:
    """Answers each stage at once, unless told to raise an error or to wait in a stage until released."""

    storage: AudioStorage
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    hangs_in: str = ""
    calls: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    """Stages that were cancelled while they waited."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    dits: list[str] = field(default_factory=list)
    """The DiTs that were asked to denoise."""

    async def _enter(self, stage: str) -> None:
        self.calls.append(stage)
        if failures := self.failures.get(stage):
            raise failures.pop(0)
        if stage == self.hangs_in:
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.stopped.append(stage)
                raise

    async def plan(self, _language_model: str, _request: PlanRequest) -> Metadata:
        await self._enter("planning")
        return Metadata(90, "A minor", "3/4", 1.0)

    async def describe(self, _language_model: str, request: DescribeRequest) -> SongDescription:
        await self._enter("describing")
        return SongDescription(
            Metadata(95, "B minor", "3/4", 1.0, "described", "fr"), f"{request.sampling.seed}"
        )

    async def compose(
        self, _language_model: str, _request: ComposeRequest
    ) -> AsyncGenerator[Progress | AudioCodes, None]:
        yield Progress("composing", 0, 1)
        await self._enter("composing")
        yield AudioCodes(CODES)

    async def encode(self, _request: EncodeRequest) -> EncodedAudio:
        raise AssertionError("no job here has a recording")

    async def tokenize(self, _dit: str, _request: TokenizeRequest) -> AudioCodes:
        await self._enter("tokenizing")
        return AudioCodes(CODES)

    async def denoise(
        self, dit: str, requests: tuple[DenoiseRequest, ...], _recordings: RecordingRefs
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        self.dits.append(dit)
        await self._enter("denoising")
        for item in range(len(requests)):
            yield item, DenoisedLatents(None, UsedOptions(8, None))  # Nobody reads these latents.

    async def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        yield Progress("decoding", 0, 1)
        await asyncio.to_thread(self.storage.write, request.uri, io.BytesIO(SONG))
        await self._enter("decoding")
        yield AudioFile(request.uri, len(SONG), {"encoding": 0.0})


class Tracker:
    """Calls the tracker's methods without Ray. When `away` is set, every call raises it instead."""

    def __init__(self, settings: Settings) -> None:
        self.actor = DurableTracker(settings)
        self.client = client_over(self._call)
        self.away: Exception | None = None

    async def _call(self, method: str, *arguments: Any) -> Any:
        if self.away is not None:
            raise self.away
        return await getattr(self.actor, method)(*arguments)


class Server:
    """The runners of one ingress replica, with their tracker and storage."""

    def __init__(self, folder: Path, **jobs: Any) -> None:
        limits = {"lease_seconds": 5.0, "heartbeat_seconds": 0.05, "runners": 1, "store": "memory", **jobs}
        self.settings = Settings(jobs=limits, storage={"uri": str(folder), "sweep_seconds": 0.1})
        self.folder = folder
        self._ids = count(1)
        self.tracker = Tracker(self.settings)
        self.models = Models(AudioStorage(str(folder)))
        self.start()

    def start(self) -> None:
        self.runners = Runners(self.tracker.client, self.models, self.models.storage, self.settings)
        self.runners.start()

    async def submit(self, dit: str | None = None, **fields: Any) -> str:
        job_id = f"job-{next(self._ids)}"
        spec = JobSpec(GenerateRequest(**{**GIVEN, **fields}), seeds=(1,), dit=dit)
        await self.tracker.actor.submit(NewJob(job_id, spec, WORK))
        return job_id

    async def view(self, job_id: str) -> JobView:
        view = await self.tracker.actor.view(job_id)
        assert view is not None
        return view

    async def ended(self, job_id: str) -> JobView:
        for _ in range(1000):
            if (view := await self.view(job_id)).state.is_final:
                return view
            await asyncio.sleep(0.01)
        raise AssertionError(f"the job does not end: {view}")

    async def reach(self, stage: str) -> None:
        await eventually(lambda: stage in self.models.calls)

    def files(self) -> list[str]:
        """Return the files of jobs.

        The store's sign-in is left out, because a sweep may write it at any moment.
        """
        files = [path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file()]
        return [str(file) for file in files if file.parts[0] != ".stores"]
